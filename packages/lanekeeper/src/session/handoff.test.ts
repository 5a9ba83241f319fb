import { expect, test } from 'vitest';
import { createConfiguration } from '../config/index.ts';
import {
  acceptHandoff,
  createHandoffMemory,
  createKeyRing,
  createTokenSource,
  generateKeyPair,
  mintAgentToken,
  mintHandoff,
  parseSigningKey,
  type Session,
} from './index.ts';

const nowMs = Date.UTC(2026, 4, 1);
const pairs = { ny: generateKeyPair('ny'), la: generateKeyPair('la') };
const ringAt = (here: 'ny' | 'la') =>
  createKeyRing(
    createConfiguration(
      {
        cluster: 'shop',
        approach: 'active-passive',
        dataCenters: {
          ny: {
            place: 'New York',
            faultDomain: 'us-east',
            database: 'postgres://ny/shop',
            url: 'https://shop.example',
          },
          la: {
            place: 'Los Angeles',
            faultDomain: 'us-west',
            database: 'postgres://la/shop',
            url: 'https://shop.test',
          },
        },
        leases: { url: 'postgres://witness/witness' },
        tables: {},
        sessions: { keys: [pairs.ny.publicJwk, pairs.la.publicJwk] },
      },
      { here },
    ),
    { signingKey: parseSigningKey(JSON.stringify(pairs[here].privateJwk), 'test') },
  );
const atNy = ringAt('ny');
const atLa = ringAt('la');

const session: Session = {
  id: 'A'.repeat(22),
  account: 'a1',
  guest: 'g1',
  home: 'la',
  epoch: { term: 1, counter: 2 },
  bookmark: { dataCenter: 'ny', position: '0/16B3748', generation: 1 },
  issuer: 'ny',
  issuedAtMs: nowMs - 1000,
  expiresAtMs: nowMs + 3_600_000,
};

test('a session is handed over once, to the data center that was named', () => {
  const memory = createHandoffMemory();
  const token = mintHandoff(atNy, session, 'la', nowMs);
  expect(acceptHandoff(atNy, memory, token, nowMs)).toMatchObject({ reason: 'audience' });
  expect(acceptHandoff(atLa, memory, token, nowMs)).toEqual({
    kind: 'valid',
    session: { ...session, issuedAtMs: nowMs },
  });
  expect(acceptHandoff(atLa, memory, token, nowMs)).toEqual({ kind: 'refused', reason: 'used' });
  expect(acceptHandoff(atLa, memory, mintHandoff(atNy, session, 'la', nowMs), nowMs)).toMatchObject({ kind: 'valid' });
});

test('within a minute, and not beyond the session', () => {
  const memory = createHandoffMemory();
  const token = mintHandoff(atNy, session, 'la', nowMs);
  expect(acceptHandoff(atLa, memory, token, nowMs + 60_000)).toMatchObject({ reason: 'expired' });
  expect(acceptHandoff(atLa, memory, token, nowMs + 59_999)).toMatchObject({ kind: 'valid' });
  const ending = mintHandoff(atNy, { ...session, expiresAtMs: nowMs + 1000 }, 'la', nowMs);
  expect(acceptHandoff(atLa, memory, ending, nowMs + 1000)).toMatchObject({ reason: 'expired' });
});

test('what was used is forgotten only when it could not be used any more, and a full memory refuses', () => {
  const memory = createHandoffMemory(2);
  const mint = (atMs: number) => mintHandoff(atNy, session, 'la', atMs);
  const first = mint(nowMs);
  for (const token of [first, mint(nowMs)])
    expect(acceptHandoff(atLa, memory, token, nowMs)).toMatchObject({ kind: 'valid' });
  expect(acceptHandoff(atLa, memory, mint(nowMs), nowMs)).toMatchObject({ reason: 'used' });
  expect(acceptHandoff(atLa, memory, mint(nowMs + 60_000), nowMs + 60_000)).toMatchObject({ kind: 'valid' });
  expect(memory.used.size).toBe(1);
});

test('one token serves many requests, and is renewed in time', () => {
  let minted = 0;
  const source = createTokenSource(atNy, (ring, atMs) => {
    minted++;
    return mintAgentToken(ring, atMs);
  });
  const first = source(nowMs);
  expect(source(nowMs + 9999)).toBe(first);
  expect(source(nowMs + 10_000)).not.toBe(first);
  source(nowMs + 15_000);
  expect(minted).toBe(2);
  source(nowMs);
  expect(minted).toBe(3);
});
