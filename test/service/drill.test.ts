/** Drills as a user runs them, against a running lab: that they pass, that they find what is wrong, and that they mend what they broke. */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LinksClient } from '@lanekeeper/lab';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { dataCenterOf, lanekeeperProgram, type TestLab, testLab } from '../support/lab.ts';

type Report = {
  readonly name: string;
  readonly passed: boolean;
  readonly failures: readonly string[];
  readonly verdicts: Readonly<Record<string, { readonly kind: string; readonly violations?: readonly string[] }>>;
  readonly tally: Readonly<Record<string, number>>;
  readonly rounds: readonly unknown[];
};

let lab: TestLab;
beforeAll(async () => {
  lab = await testLab(['--stickiness', '2s', '--rtt', '20ms']);
}, 120_000);
afterAll(() => lab?.stop(), 60_000);

/** `whileItRuns` is called when customers shop. */
async function drill(
  args: readonly string[],
  whileItRuns?: (child: ReturnType<typeof spawn>) => Promise<void>,
): Promise<{ readonly code: number | null; readonly reports: readonly Report[]; readonly output: string }> {
  const child = spawn(
    process.execPath,
    [lanekeeperProgram, 'drill', ...args, '--against', lab.line.dir, '--customers', '4', '--seed', '1'],
    { cwd: lab.directory, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  let acting: Promise<void> | null = null;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.includes('customers shop') && acting === null) acting = whileItRuns?.(child) ?? Promise.resolve();
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  await acting;
  const reports = output
    .split('\n')
    .flatMap((line) => (line.startsWith('{"name"') ? [JSON.parse(line) as Report] : []));
  return { code, reports, output };
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('an edge is killed, and the owner tries TRUNCATE: nothing that was acknowledged is lost', {
  timeout: 120_000,
}, async () => {
  const { code, reports, output } = await drill(['edge-killed', 'truncate', '--json']);
  expect(code, output).toBe(0);
  expect(reports.map(({ name, passed }) => [name, passed])).toEqual([
    ['edge-killed', true],
    ['truncate', true],
  ]);
  for (const { tally, verdicts } of reports) {
    expect(tally.acknowledged).toBeGreaterThan(20);
    expect(tally).toMatchObject({ lost: 0, duplicated: 0 });
    expect(Object.values(verdicts).map(({ kind }) => kind)).not.toContain('violated');
    for (const name of ['W1', 'D1', 'G1', 'C1', 'E1', 'X1']) expect(verdicts[name]?.kind).toBe('holds');
  }
});

test('an order that vanishes from both databases is found, and so is what the user’s own assertion finds', {
  timeout: 120_000,
}, async () => {
  const file = join(lab.directory, 'more.mjs');
  await writeFile(file, `export default ({ history }) => [\`\${history.operations.length > 0} and not enough\`];`);
  const { code, output } = await drill(['truncate', '--assert', file], async () => {
    await wait(2_500);
    const { superuser } = dataCenterOf(lab, 'ny').databases;
    const gone = await runSql<{ note: string }>(
      superuser,
      `SET session_replication_role = 'replica'; DELETE FROM public.orders WHERE id = (
         SELECT id FROM public.orders WHERE note <> '' AND placed_in = 'ny' ORDER BY placed_at DESC LIMIT 1) RETURNING note`,
    );
    expect(gone).not.toEqual([]);
  });
  expect(code, output).toBe(1);
  expect(output).toMatch(/✗ D1 every acknowledged write/);
  expect(output).toMatch(/order ".*" of .* in la was acknowledged as stored remotely and is not there/);
  expect(output).toContain('true and not enough');
  expect(output).toContain('lanekeeper drill truncate --seed 1');
});

test('broken off with Ctrl-C it mends what it broke', { timeout: 60_000 }, async () => {
  const { code, output } = await drill(['link-cut'], async (child) => {
    await wait(4_500);
    child.kill('SIGINT');
  });
  expect(code, output).toBe(1);
  expect(output).toContain('what was broken has been mended');
  const { directions } = await new LinksClient(lab.line.links).state();
  expect(directions.filter(({ mode }) => mode !== 'open')).toEqual([]);
  for (const name of ['ny', 'la']) {
    const slots = await runSql(
      dataCenterOf(lab, name).databases.superuser,
      "SELECT FROM pg_replication_slots WHERE slot_name = 'lanekeeper_drill'",
    );
    expect(slots).toEqual([]);
  }
});

test('what cannot be drilled is said, and wrong names are refused', { timeout: 30_000 }, async () => {
  const skipped = await drill(['clock-back']);
  expect(skipped.code).toBe(1);
  expect(skipped.output).toMatch(/skipped: .*not against one that runs/);
  const unknown = await drill(['no-such-fault']);
  expect(unknown.code).toBe(2);
  expect(unknown.output).toContain('There is no drill no-such-fault.');
});
