// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of a configuration look like this.
import { expect, test } from 'vitest';
import { renderDiagnostics } from './diagnose.ts';
import { checkText } from './load.ts';

function rendered(text: string, env: Record<string, string> = {}): string {
  const result = checkText(text, { file: 'lanekeeper.yaml', env, directory: '/nowhere' });
  return renderDiagnostics(result.kind === 'valid' ? result.warnings : result.diagnostics);
}

const frame = (body: string) => `cluster: shop
approach: active-passive
dataCenters:
  ny: { place: New York, faultDomain: us-east, database: postgres://10.1.0.5/shop, url: https://ny.example }
tables: {}
sessions: { keys: [{ kid: ny-1, kty: EC, crv: P-256, x: wfNKFUC87wMTh73Bd7KsSxA7i1oAlvXspTKW30q8qus, y: FxYIDxHkddsyIymglDXkDDBj6SffHNQHx4x8CQxw8gk }] }
${body}`;

test('file, line, column, the line, a caret, what would be right', () => {
  expect(rendered(frame('leases:\n  url: postgres://w/w\n  renewEvry: 1s\n'))).toBe(
    [
      'lanekeeper.yaml:9:3: error: `renewEvry` is not known in `leases`',
      '    9 |   renewEvry: 1s',
      '      |   ^^^^^^^^^',
      '        Did you mean `renewEvery`?',
    ].join('\n'),
  );
});

test('JSON gets the same carets', () => {
  expect(
    rendered(
      '{\n\t"cluster": "Shop",\n\t"approach": "active-passive", "dataCenters": {}, "tables": {}, "leases": {"url": "postgres://w/w"}\n}',
    ),
  ).toContain(
    [
      'lanekeeper.yaml:2:13: error: `cluster` cannot be "Shop"',
      '    2 | \t"cluster": "Shop",',
      '      | \t           ^^^^^^',
    ].join('\n'),
  );
});

test('a long line is cut to what is around the caret', () => {
  const text = rendered(frame(`leases: { url: postgres://w/w, ttl: 6s, skew: 1s${' '.repeat(400)}, renewEvery: 3s }`));
  const [, line, carets] = text.split('\n') as [string, string, string];
  expect(line.length).toBeLessThan(160);
  expect(line.slice(carets.indexOf('^'), carets.lastIndexOf('^') + 1)).toBe('3s');
});

test('a password in the file is not repeated, neither in the line nor in the message', () => {
  for (const text of [
    frame('leases: { url: postgres://witness:hunter2@w/w }'),
    frame('leases: { url: "postgres://witness:hunter2@w/w", ttl: 6 }'),
    frame('leases: { url: postgres://witness:hunter2@w/w }}'),
    frame("leases: } 'postgres://witness:hunter2@w/w'"),
    frame('leases: { url: postgres://witness@w/w?password=hunter2 }'),
    frame('leases: postgres://witness:hunter2@w/w'),
  ]) {
    expect(rendered(text)).not.toBe('');
    expect(rendered(text)).not.toContain('hunter2');
  }
});

test('a secret from the environment is not repeated', () => {
  const text = frame('leases: { url: "${WITNESS_URL}" }\nenforce: "${SHORT}"');
  const result = rendered(text, { WITNESS_URL: 'postgres://w:hunter2@w/w', SHORT: 'hunter2' });
  expect(result).toContain('A password does not belong');
  expect(result).toContain('`enforce`');
  expect(result).not.toContain('hunter2');
});

test('a variable between braces is told to be quoted', () => {
  expect(rendered(frame('leases: { url: ${WITNESS_URL} }'))).toBe(
    [
      'lanekeeper.yaml:7:17: error: Between { } or [ ] a variable must be quoted',
      '    7 | leases: { url: ${WITNESS_URL} }',
      '      |                 ^',
      '        Write "${NAME}" with the quotes.',
    ].join('\n'),
  );
});

test('a missing variable is shown under its name', () => {
  const text = rendered(frame('leases:\n  url: postgres://${WITNESS_HOST}:5432/witness'));
  expect(text).toContain(
    ['    8 |   url: postgres://${WITNESS_HOST}:5432/witness', '      |                   ^^^^^^^^^^^^^^^'].join('\n'),
  );
  expect(text).toContain('The environment variable WITNESS_HOST is not set');
});

test('a key that is missing is shown at the name of what lacks it', () => {
  expect(rendered(frame('leases:\n  ttl: 6s'))).toContain(
    ['lanekeeper.yaml:7:1: error: `leases.url` is missing', '    7 | leases:', '      | ^^^^^^'].join('\n'),
  );
});

test('broken syntax is one mistake, at its first place', () => {
  const text = rendered(`${frame('leases: { url: postgres://w/w ] }')}\nenforce: enforce\n`);
  expect(text.match(/error:/g)).toHaveLength(1);
  expect(text).toMatch(/^lanekeeper.yaml:7:\d+: error:/);
});
