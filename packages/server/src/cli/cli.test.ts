import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LanekeeperError } from 'lanekeeper/model';
import { generateKeyPair, parseSigningKey } from 'lanekeeper/session';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { run } from './main.ts';
import { type CliContext, CommandFailure, colorsFor, reportError, SilentExit } from './output.ts';

const root = mkdtempSync(join(tmpdir(), 'lanekeeper-cli-'));
afterAll(() => rmSync(root, { recursive: true }));
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(root, 'case-'));
});

function capture(env: NodeJS.ProcessEnv = {}, isTTY = false) {
  const written = { out: '', err: '' };
  const context: CliContext = {
    env,
    directory,
    stdout: { write: (text) => append('out', text), isTTY },
    stderr: { write: (text) => append('err', text), isTTY },
  };
  const append = (stream: keyof typeof written, text: string): void => {
    written[stream] += text;
  };
  return { context, written };
}

async function cli(line: string, env: NodeJS.ProcessEnv = {}) {
  const { context, written } = capture(env);
  const exitCode = await run(line === '' ? [] : line.split(' '), context);
  return { exitCode, ...written };
}

describe('usage', () => {
  test('help and version end well, and help says what a script must know', async () => {
    const help = await cli('--help');
    expect(help.exitCode).toBe(0);
    for (const part of ['init', 'config', 'keys', 'Examples:', 'Exit codes:', 'LANEKEEPER_DC', 'NO_COLOR'])
      expect(help.out).toContain(part);
    expect((await cli('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect((await cli('help config')).exitCode).toBe(0);
    // Of a command within a command, too.
    expect((await cli('help stranded list')).out).toContain('lanekeeper stranded list [options]');
    expect(await cli('')).toMatchObject({ exitCode: 2, out: expect.stringContaining('Usage:') });
    expect((await cli('config')).exitCode).toBe(2);
  });

  test.each([
    ['confg', "unknown command 'confg'"],
    ['config chek', "unknown command 'chek'"],
    ['config check --jsn', "unknown option '--jsn'"],
    ['--json', "unknown option '--json'"],
    ['config check a b', 'too many arguments'],
    ['keys new', "required option '--dc <name>'"],
    ['keys new --dc NY', 'lower-case letter'],
    ['keys new --dc ny --number 0', 'whole number from 1'],
    ['init --data-centers ny,ny', 'same name twice'],
    ['init --data-centers ny,la,fra,lon', 'At most 3'],
    ['init --approach all', 'active-passive'],
    ['init --stride 1', 'from 2 to 64'],
    ['init --cluster Shop', 'lower-case letter'],
  ])('%s is refused', async (line, message) => {
    const { exitCode, out, err } = await cli(line);
    expect(exitCode).toBe(2);
    if (line.includes('--json'))
      expect(JSON.parse(out).error).toMatchObject({
        code: 'USAGE',
        message: expect.stringContaining(message),
        exitCode: 2,
      });
    else expect(err).toContain(message);
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('init', () => {
  test.each(['full-active-active', 'active-passive', 'stateless-frontends'])(
    'writes what config check accepts: %s',
    async (approach) => {
      const made = await cli(`init --cluster my_shop --data-centers aa,b2 --approach ${approach} --stride 4 --json`);
      expect(made.exitCode).toBe(0);
      expect(JSON.parse(made.out).files).toEqual(['lanekeeper.yaml', 'keys.json', 'aa.key.json', 'b2.key.json']);
      const checked = await cli('config check --json');
      expect(checked).toMatchObject({ exitCode: 0, err: '' });
      expect(JSON.parse(checked.out)).toEqual({ file: join(directory, 'lanekeeper.yaml'), valid: true, warnings: [] });
      expect(readFileSync(join(directory, 'lanekeeper.yaml'), 'utf8')).toMatch(/^stride: 4$/m);
    },
  );

  test('private keys are readable by their owner only, and belong to the public ones', async () => {
    await cli('init');
    const { keys } = JSON.parse(readFileSync(join(directory, 'keys.json'), 'utf8'));
    for (const [index, name] of ['ny', 'la'].entries()) {
      const file = join(directory, `${name}.key.json`);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(parseSigningKey(readFileSync(file, 'utf8'), file).publicJwk).toEqual(keys[index]);
    }
    expect(JSON.stringify(keys)).not.toContain('"d"');
  });

  test('overwrites nothing, and writes nothing when something is there', async () => {
    for (const file of ['la.key.json', 'keys.json', 'lanekeeper.yaml', 'lanekeeper.json']) {
      writeFileSync(join(directory, file), 'mine');
      expect(await cli('init')).toMatchObject({
        exitCode: 1,
        err: expect.stringContaining(`${file} is there already`),
      });
      expect(readdirSync(directory)).toEqual([file]);
      expect(readFileSync(join(directory, file), 'utf8')).toBe('mine');
      rmSync(join(directory, file));
    }
    expect((await cli('init --dir deep/er')).exitCode).toBe(0);
    expect(readdirSync(join(directory, 'deep/er'))).toHaveLength(4);
  });
});

describe('config check', () => {
  test('shows every mistake with its caret, and counts them', async () => {
    await cli('init');
    const file = join(directory, 'lanekeeper.yaml');
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace('cluster: shop', 'cluster: Shop').replace('stride: 8', 'strid: 8'),
    );
    const { exitCode, out, err } = await cli('config check');
    expect([exitCode, out]).toEqual([3, '']);
    expect(err).toMatch(
      /lanekeeper.yaml:\d+:10: error: `cluster` cannot be "Shop"\n +\d+ \| cluster: Shop\n +\| {10}\^\^\^\^\n/,
    );
    expect(err).toContain('Did you mean `stride`?');
    expect(err).toMatch(/\n\n2 errors\n$/);
    const json = JSON.parse((await cli('config check --json')).out);
    expect(json.error).toMatchObject({
      code: 'LK_CONFIG',
      exitCode: 3,
      diagnostics: [{ path: 'cluster', line: expect.any(Number), column: 10 }, { path: 'strid' }],
    });
  });

  test('warnings do not fail, an unknown LANEKEEPER_DC does', async () => {
    await cli('init');
    const file = join(directory, 'lanekeeper.yaml');
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(/faultDomain: .*/g, 'faultDomain: same'));
    expect(await cli('config check')).toMatchObject({
      exitCode: 0,
      err: '',
      out: expect.stringMatching(/same fault domain[\s\S]*1 warning\n\n✓/),
    });
    expect(await cli('config check', { LANEKEEPER_DC: 'fra' })).toMatchObject({
      exitCode: 3,
      err: expect.stringContaining('no such data center'),
    });
  });

  test('no file is a mistake of the configuration', async () => {
    expect(await cli('config check')).toMatchObject({ exitCode: 3, err: expect.stringContaining('lanekeeper init') });
    expect(await cli('config check no.yaml')).toMatchObject({
      exitCode: 3,
      err: expect.stringContaining('no file no.yaml'),
    });
  });

  test('schema is JSON Schema', async () => {
    const { exitCode, out } = await cli('config schema');
    expect(exitCode).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      additionalProperties: false,
      required: ['cluster', 'approach', 'dataCenters', 'leases', 'tables'],
    });
  });
});

describe('keys new', () => {
  test('prints a pair whose halves belong together', async () => {
    const { exitCode, out } = await cli('keys new --dc ny --json');
    expect(exitCode).toBe(0);
    const { privateKey, publicKey } = JSON.parse(out);
    expect(parseSigningKey(JSON.stringify(privateKey), 'test').publicJwk).toEqual(publicKey);
    expect(publicKey).not.toHaveProperty('d');
    expect(publicKey.kid).toBe('ny-1');
    const text = (await cli('keys new --dc ny')).out;
    for (const part of ['LANEKEEPER_SIGNING_KEY', 'sessions.keys', '"kid":"ny-1"']) expect(text).toContain(part);
  });

  test('counts on from the configuration', async () => {
    await cli('init');
    expect(JSON.parse((await cli('keys new --dc ny --json')).out).publicKey.kid).toBe('ny-2');
    expect(JSON.parse((await cli('keys new --dc ny --number 9 --json')).out).publicKey.kid).toBe('ny-9');
    const keys = [generateKeyPair('ny', 1), generateKeyPair('ny', 7), generateKeyPair('la', 12)].map(
      ({ publicJwk }) => publicJwk,
    );
    writeFileSync(join(directory, 'keys.json'), JSON.stringify(keys));
    expect(JSON.parse((await cli('keys new --dc ny --json')).out).publicKey.kid).toBe('ny-8');
    writeFileSync(join(directory, 'keys.json'), '{}');
    expect(await cli('keys new --dc ny')).toMatchObject({
      exitCode: 3,
      out: '',
      err: expect.stringContaining('--number'),
    });
  });

  test('writes the private key to a file instead, never over another', async () => {
    const made = await cli('keys new --dc ny --out k.json --json');
    expect(Object.keys(JSON.parse(made.out))).toEqual(['privateKeyFile', 'publicKey']);
    expect(statSync(join(directory, 'k.json')).mode & 0o777).toBe(0o600);
    expect(await cli('keys new --dc ny --out k.json')).toMatchObject({
      exitCode: 1,
      out: '',
      err: expect.stringContaining('not overwritten'),
    });
  });
});

describe('errors', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' });
  test.each<[string, unknown, number, string]>([
    [
      'an expected failure',
      new CommandFailure('Two rows differ.', { hint: 'Look.' }),
      1,
      'error: Two rows differ.\n  Look.\n',
    ],
    ['a failure with its own code', new CommandFailure('No.', { exitCode: 4 }), 4, 'error: No.\n'],
    ['a mistake of configuration', new LanekeeperError('LK_CONFIG', 'Wrong.'), 3, 'error: Wrong.\n'],
    ['a refusal', new LanekeeperError('LK_NO_LEASE', 'No lease.'), 1, 'error: No lease.\n'],
    ['an agent that is away', new LanekeeperError('LK_AGENT_UNAVAILABLE', 'Away.'), 4, 'error: Away.\n'],
    ['a refused connection', refused, 4, 'error: connect ECONNREFUSED 127.0.0.1:1\n'],
    [
      'several of them',
      new AggregateError([refused, refused]),
      4,
      'error: connect ECONNREFUSED 127.0.0.1:1; connect ECONNREFUSED 127.0.0.1:1\n',
    ],
    ['an answer already given', new SilentExit(), 1, ''],
  ])('%s', (_name, error, exitCode, text) => {
    const { context, written } = capture();
    expect(reportError(error, context, { json: false })).toBe(exitCode);
    expect(written).toEqual({ out: '', err: text });
  });

  test('a bug says so, with its stack', () => {
    const { context, written } = capture();
    expect(reportError(new TypeError('x is not a function'), context, { json: false })).toBe(70);
    expect(written.err).toMatch(/error: x is not a function\nTypeError[\s\S]*mistake in Lanekeeper/);
  });

  test('with --json one object on stdout', () => {
    const { context, written } = capture();
    reportError(new LanekeeperError('LK_WRONG_HOME', 'Elsewhere.', { home: 'la', account: 'a1' }), context, {
      json: true,
    });
    expect(written.err).toBe('');
    expect(JSON.parse(written.out)).toEqual({
      error: { code: 'LK_WRONG_HOME', message: 'Elsewhere.', exitCode: 1, home: 'la', account: 'a1' },
    });
  });
});

test('colour is for terminals, NO_COLOR and FORCE_COLOR decide otherwise', () => {
  const colourful = (isTTY: boolean, env: NodeJS.ProcessEnv) =>
    colorsFor({ write: () => {}, isTTY }, env).red('x') !== 'x';
  expect([
    colourful(true, {}),
    colourful(false, {}),
    colourful(true, { NO_COLOR: '1' }),
    colourful(true, { NO_COLOR: '' }),
    colourful(true, { TERM: 'dumb' }),
  ]).toEqual([true, false, false, true, false]);
  expect([
    colourful(false, { FORCE_COLOR: '1' }),
    colourful(true, { FORCE_COLOR: '0' }),
    colourful(false, { FORCE_COLOR: '1', NO_COLOR: '1' }),
  ]).toEqual([true, false, false]);
});
