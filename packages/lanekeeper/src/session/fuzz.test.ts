import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createConfiguration } from '../config/index.ts';
import {
  acceptHandoff,
  createHandoffMemory,
  createKeyRing,
  generateKeyPair,
  issueSession,
  mintAgentToken,
  mintEdgeToken,
  mintHandoff,
  parseSigningKey,
  sessionOf,
  verifyAgentToken,
  verifyEdgeToken,
  verifySession,
} from './index.ts';

const nowMs = Date.UTC(2026, 4, 1);
const pair = generateKeyPair('ny');
const ring = createKeyRing(
  createConfiguration(
    {
      cluster: 'shop',
      approach: 'active-passive',
      dataCenters: {
        ny: { place: 'New York', faultDomain: 'us-east', database: 'postgres://ny/shop', url: 'https://ny.example' },
      },
      leases: { url: 'postgres://witness/witness' },
      tables: {},
      sessions: { keys: [pair.publicJwk] },
    },
    { here: 'ny' },
  ),
  { signingKey: parseSigningKey(JSON.stringify(pair.privateJwk), 'test') },
);

const token = issueSession(
  ring,
  { id: 'A'.repeat(22), account: 'a1', guest: null, home: 'ny', epoch: { term: 1, counter: 0 } },
  { nowMs, maxAgeMs: 60_000 },
);
const valid = verifySession(ring, token, nowMs);
if (valid.kind !== 'valid') throw new Error('The token that is to be mutated must be valid.');
const tokens = {
  session: token,
  agent: mintAgentToken(ring, nowMs),
  edge: mintEdgeToken(ring, nowMs),
  handoff: mintHandoff(ring, valid.session, 'ny', nowMs),
};
const everyToken = Object.values(tokens);

/** Whether anyone at all accepts `text`. A throw fails the property. */
function accepted(text: string): boolean {
  return [
    verifySession(ring, text, nowMs),
    verifyAgentToken(ring, text, nowMs),
    verifyEdgeToken(ring, text, nowMs),
    acceptHandoff(ring, createHandoffMemory(), text, nowMs),
  ].some(({ kind }) => kind === 'valid');
}

test('each token is accepted for its purpose, so that the refusals below mean something', () => {
  expect(everyToken.map(accepted)).toEqual([true, true, true, true]);
});

const character = fc.oneof(
  fc.constantFrom(...'ABCabc019-_.=+/ \u0000é'),
  fc.string({ minLength: 1, maxLength: 1, unit: 'binary' }),
);
const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.oneof(fc.constant(0), fc.constant(1), fc.nat(400)),
  insert: fc.oneof(fc.constant(''), character, fc.string({ maxLength: 20 })),
});

test('a token that was changed is refused', () => {
  let changed = 0;
  fc.assert(
    fc.property(fc.constantFrom(...everyToken), fc.array(edit, { minLength: 1, maxLength: 3 }), (original, edits) => {
      const text = edits.reduce((result, { at, remove, insert }) => {
        const start = Math.floor(at * result.length);
        return result.slice(0, start) + insert + result.slice(start + remove);
      }, original);
      if (everyToken.includes(text)) return;
      changed++;
      expect(accepted(text)).toBe(false);
    }),
    { numRuns: 1500 },
  );
  expect(changed).toBeGreaterThan(500);
});

test('parts of different tokens do not make another', () => {
  const part = fc.tuple(fc.constantFrom(...everyToken), fc.nat(2)).map(([text, index]) => text.split('.')[index]!);
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
      const text = parts.join('.');
      expect(accepted(text)).toBe(everyToken.includes(text));
    }),
    { numRuns: 500 },
  );
});

test('headers and payloads of any JSON with any signature', () => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value) ?? '').toString('base64url');
  const header = fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        alg: fc.oneof(fc.constant('ES256'), fc.jsonValue()),
        typ: fc.constantFrom('lk-session+jwt', 'lk-agent+jwt', 'lk-edge+jwt', 'lk-handoff+jwt'),
        kid: fc.oneof(fc.constantFrom('ny-1', '__proto__', '/etc/passwd'), fc.jsonValue()),
        jku: fc.string(),
      },
      { requiredKeys: ['alg', 'typ', 'kid'] },
    ),
  );
  const signature = fc
    .oneof(fc.uint8Array({ minLength: 64, maxLength: 64 }), fc.uint8Array({ maxLength: 80 }))
    .map((bytes) => Buffer.from(bytes).toString('base64url'));
  fc.assert(
    fc.property(header, fc.jsonValue(), signature, (head, payload, sig) => {
      expect(accepted(`${encode(head)}.${encode(payload)}.${sig}`)).toBe(false);
    }),
    { numRuns: 800 },
  );
});

test('anything at all is refused as a token', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 200 }),
        fc.string({ unit: fc.constantFrom('.', 'A', '-', '='), maxLength: 5000 }),
      ),
      (text) => !accepted(text),
    ),
    { numRuns: 500 },
  );
});

const cookieName = fc.constantFrom('lanekeeper', '__Host-lanekeeper', '__Secure-lanekeeper', 'a', 'lanekeepe', '');
const cookieValue = fc.oneof(
  fc.constant(token),
  fc.constant(''),
  fc.string({ maxLength: 30, unit: 'binary' }),
  fc.constant(token.slice(0, -2)),
);
const separator = fc.constantFrom('; ', ';', ' ; ', ', ', ';;', '\t;');

test('of any Cookie header: nothing, the one session that was signed, or a refusal', () => {
  const outcomes = new Set<string>();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(cookieName, cookieValue, separator), { maxLength: 6 }),
      fc.nat(20),
      (cookies, padding) => {
        const header =
          cookies.map(([name, value, between]) => `${name}=${value}${between}`).join('') +
          ' '.repeat(padding === 20 ? 20_000 : padding);
        const result = sessionOf(ring, 'lanekeeper', header, nowMs);
        outcomes.add(result.kind === 'refused' ? result.reason : result.kind);
        if (result.kind === 'valid') {
          expect(result.token).toBe(token);
          expect(header.split(token).length).toBeGreaterThan(1);
        }
      },
    ),
    { numRuns: 1500 },
  );
  for (const outcome of ['none', 'valid', 'malformed', 'duplicate-cookie', 'cookie-too-long'])
    expect(outcomes).toContain(outcome);
});
