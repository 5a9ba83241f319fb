import { createHmac, createPublicKey } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importJWK, jwtVerify, SignJWT } from 'jose';
import { afterAll, describe, expect, test } from 'vitest';
import { createConfiguration, type WrittenConfiguration } from '../config/index.ts';
import {
  createKeyRing,
  generateKeyPair,
  issueSession,
  mintAgentToken,
  mintEdgeToken,
  type NewSession,
  parseSigningKey,
  readSigningKey,
  skewMs,
  verifyAgentToken,
  verifyEdgeToken,
  verifySession,
} from './index.ts';
import { readSession, writeSession } from './session-token.ts';

const nowMs = Date.UTC(2026, 4, 1);
const ny = generateKeyPair('ny');
const nyNext = generateKeyPair('ny', 2);
const la = generateKeyPair('la');

const written: WrittenConfiguration = {
  cluster: 'shop',
  approach: 'active-passive',
  dataCenters: {
    ny: { place: 'New York', faultDomain: 'us-east', database: 'postgres://ny/shop', url: 'https://ny.shop.example' },
    la: {
      place: 'Los Angeles',
      faultDomain: 'us-west',
      database: 'postgres://la/shop',
      url: 'https://la.shop.example',
    },
  },
  leases: { url: 'postgres://witness/witness' },
  tables: {},
  sessions: { keys: [ny.publicJwk, nyNext.publicJwk, la.publicJwk] },
};

const ringOf = (here: 'ny' | 'la', pair: typeof ny | null, change: Partial<WrittenConfiguration> = {}) =>
  createKeyRing(createConfiguration({ ...written, ...change }, { here }), {
    signingKey: pair === null ? null : parseSigningKey(JSON.stringify(pair.privateJwk), 'test'),
  });
const atNy = ringOf('ny', ny);
const atLa = ringOf('la', la);

const session: NewSession = {
  id: 'A'.repeat(22),
  account: 'ny_acc_1',
  guest: null,
  home: 'ny',
  epoch: { term: 3, counter: 7 },
  bookmark: { dataCenter: 'la', position: '1A/16B3748', generation: 2 },
};
const token = issueSession(atNy, session, { nowMs, maxAgeMs: 3_600_000 });

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const payload = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString());
const header = { alg: 'ES256', typ: 'lk-session+jwt', kid: 'ny-1' };

/** Signs anything at all with ny's real key, by another implementation. */
async function signed(claims: object, protectedHeader: object = header, jwk: object = ny.privateJwk): Promise<string> {
  const key = await importJWK({ ...jwk, alg: 'ES256' });
  return new SignJWT(claims as never).setProtectedHeader(protectedHeader as never).sign(key);
}

const reasonOf = (text: string, at = atLa, atMs = nowMs) => {
  const result = verifySession(at, text, atMs);
  return result.kind === 'refused' ? result.reason : result.kind;
};

test.each([
  ['of a data center that is no more', ['fra', '0/1', 1]],
  ['of another form', ['ny', '0/1']],
  ['without a place', ['ny', 'here', 1]],
  ['without a number', ['ny', '0/1', '1']],
])('a bookmark %s is no bookmark, and the session as good as before', (_what, bm) => {
  const claims = { ...writeSession(session), bm, iss: 'ny', iat: 1, exp: 2 };
  expect(readSession(atLa, claims)).toMatchObject({ account: 'ny_acc_1', bookmark: null });
});

test('what one data center issues, another recognises', () => {
  expect(verifySession(atLa, token, nowMs)).toEqual({
    kind: 'valid',
    session: { ...session, issuer: 'ny', issuedAtMs: nowMs, expiresAtMs: nowMs + 3_600_000 },
  });
  expect(token.length).toBeLessThan(450);
});

test('another implementation of JWT agrees on what we issue, and we on what it issues', async () => {
  const verified = await jwtVerify(token, await importJWK(ny.publicJwk), {
    issuer: 'ny',
    audience: 'shop',
    typ: 'lk-session+jwt',
    algorithms: ['ES256'],
    currentDate: new Date(nowMs),
  });
  expect(verified.payload).toMatchObject({ sub: 'ny_acc_1', home: 'ny', ep: [3, 7], sid: session.id });
  expect(reasonOf(await signed(payload))).toBe('valid');
});

test('a guest, and an account that was one', () => {
  for (const each of [
    { ...session, account: null, guest: 'g1' },
    { ...session, guest: 'g1' },
  ]) {
    const result = verifySession(atLa, issueSession(atNy, each, { nowMs, maxAgeMs: 1000 }), nowMs);
    expect(result).toMatchObject({ kind: 'valid', session: each });
  }
});

test('both keys of a data center are good while they are rotated, a removed one is not', () => {
  const next = issueSession(ringOf('ny', nyNext), session, { nowMs, maxAgeMs: 60_000 });
  expect(reasonOf(next)).toBe('valid');
  expect(reasonOf(token)).toBe('valid');
  const later = ringOf('la', la, { sessions: { keys: [nyNext.publicJwk, la.publicJwk] } });
  expect(reasonOf(next, later)).toBe('valid');
  expect(reasonOf(token, later)).toBe('unknown-key');
});

describe('refused, each for its own reason', () => {
  const [h, p, s] = token.split('.') as [string, string, string];
  const hmacWithPublicKey = () => {
    const head = encode({ ...header, alg: 'HS256' });
    const pem = createPublicKey({ key: { ...ny.publicJwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    return `${head}.${p}.${createHmac('sha256', pem).update(`${head}.${p}`).digest('base64url')}`;
  };
  test.each<[string, string, () => string | Promise<string>]>([
    ['alg none', 'algorithm', () => `${encode({ ...header, alg: 'none' })}.${p}.`],
    ['alg none with a signature', 'algorithm', () => `${encode({ ...header, alg: 'none' })}.${p}.${s}`],
    ['alg None', 'algorithm', () => `${encode({ ...header, alg: 'None' })}.${p}.${s}`],
    ['alg es256', 'algorithm', () => `${encode({ ...header, alg: 'es256' })}.${p}.${s}`],
    ['HMAC with the public key', 'algorithm', hmacWithPublicKey],
    ['alg as a list', 'algorithm', () => `${encode({ ...header, alg: ['ES256'] })}.${p}.${s}`],
    ['jku', 'header', () => signed(payload, { ...header, jku: 'https://evil.example/keys' })],
    ['x5u', 'header', () => signed(payload, { ...header, x5u: 'https://evil.example/cert' })],
    ['jwk', 'header', () => signed(payload, { ...header, jwk: la.publicJwk })],
    ['crit', 'header', () => `${encode({ ...header, crit: ['exp'] })}.${p}.${s}`],
    ['no kid', 'header', () => signed(payload, { alg: 'ES256', typ: 'lk-session+jwt' })],
    ['kid as a path', 'unknown-key', () => signed(payload, { ...header, kid: '../../../../dev/null' })],
    ['kid as a property', 'unknown-key', () => signed(payload, { ...header, kid: '__proto__' })],
    ['kid as a number', 'header', () => `${encode({ ...header, kid: 1 })}.${p}.${s}`],
    ['kid of another data center', 'signature', () => `${encode({ ...header, kid: 'la-1' })}.${p}.${s}`],
    ["a stranger's key under our kid", 'signature', () => signed(payload, header, generateKeyPair('ny').privateJwk)],
    ['no typ', 'header', () => signed(payload, { alg: 'ES256', kid: 'ny-1' })],
    ['typ of a plain JWT', 'purpose', () => signed(payload, { ...header, typ: 'JWT' })],
    ['an agent token', 'purpose', () => mintAgentToken(atNy, nowMs)],
    ['iss of another data center', 'issuer', () => signed({ ...payload, iss: 'la' })],
    ['no iss', 'issuer', () => signed({ ...payload, iss: undefined })],
    ['another cluster', 'audience', () => signed({ ...payload, aud: 'stop' })],
    ['several audiences', 'content', () => signed({ ...payload, aud: ['shop', 'stop'] })],
    ['expired', 'expired', () => signed({ ...payload, iat: nowMs / 1000 - 100, exp: nowMs / 1000 })],
    ['from the future', 'from-the-future', () => signed({ ...payload, iat: (nowMs + skewMs) / 1000 + 1 })],
    ['no exp', 'content', () => signed({ ...payload, exp: undefined })],
    ['exp as text', 'content', () => signed({ ...payload, exp: '9999999999' })],
    ['exp beyond all time', 'content', () => signed({ ...payload, exp: 1e15 })],
    ['exp before iat', 'content', () => signed({ ...payload, iat: nowMs / 1000 + 3, exp: nowMs / 1000 + 2 })],
    ['no iat', 'content', () => signed({ ...payload, iat: undefined })],
    ['neither account nor guest', 'content', () => signed({ ...payload, sub: undefined })],
    ['an empty account', 'content', () => signed({ ...payload, sub: '' })],
    ['an account with a zero byte', 'content', () => signed({ ...payload, sub: 'a\u0000b' })],
    ['a home that does not exist', 'content', () => signed({ ...payload, home: 'constructor' })],
    ['a negative epoch', 'content', () => signed({ ...payload, ep: [-1, 0] })],
    ['an epoch that is no number', 'content', () => signed({ ...payload, ep: ['1', 0] })],
    ['an absurd epoch', 'content', () => signed({ ...payload, ep: [1e300, 0] })],
    ['an epoch too many', 'content', () => signed({ ...payload, ep: [1, 2, 3] })],
    ['no session id', 'content', () => signed({ ...payload, sid: undefined })],
    ['a payload that is a list', 'malformed', () => signedText('[1]')],
    ['a payload that is null', 'malformed', () => signedText('null')],
    ['a payload that is not JSON', 'malformed', () => signedText('{')],
    ['empty', 'malformed', () => ''],
    ['dots', 'malformed', () => '..'],
    ['two parts', 'malformed', () => `${h}.${p}`],
    ['four parts', 'malformed', () => `${token}.${s}`],
    ['an encrypted token', 'malformed', () => `${token}.a.b`],
    ['truncated', 'malformed', () => token.slice(0, -1)],
    ['signature cut off', 'malformed', () => `${h}.${p}.`],
    ['signature as DER', 'malformed', () => `${h}.${p}.${Buffer.alloc(70, 0x30).toString('base64url')}`],
    ['signature of zeros', 'signature', () => `${h}.${p}.${Buffer.alloc(64).toString('base64url')}`],
    ['another spelling of the signature', 'malformed', () => `${h}.${p}.${s.slice(0, -1)}${otherSpelling(s.at(-1)!)}`],
    ['padding', 'malformed', () => `${token}==`],
    ['blanks', 'malformed', () => ` ${token}`],
    ['too long', 'too-long', () => `${h}.${p}.${s}${'A'.repeat(4096)}`],
    ['a megabyte', 'too-long', () => '.'.repeat(1_000_000)],
  ])('%s', async (_name, reason, make) => {
    expect(reasonOf(await make())).toBe(reason);
  });

  async function signedText(text: string): Promise<string> {
    const { CompactSign } = await import('jose');
    return new CompactSign(Buffer.from(text)).setProtectedHeader(header).sign(await importJWK(ny.privateJwk));
  }
  /** Differs in the two low bits, which carry nothing. */
  function otherSpelling(last: string): string {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    return alphabet[alphabet.indexOf(last) ^ 1]!;
  }
});

test('a clock may be a little ahead, and a session ends on time', () => {
  expect(reasonOf(token, atLa, nowMs - skewMs)).toBe('valid');
  expect(reasonOf(token, atLa, nowMs - skewMs - 1)).toBe('from-the-future');
  expect(reasonOf(token, atLa, nowMs + 3_599_999)).toBe('valid');
  expect(reasonOf(token, atLa, nowMs + 3_600_000)).toBe('expired');
});

test('what is remembered is still asked for its time, purpose and audience', () => {
  const at = ringOf('la', la);
  expect(reasonOf(token, at)).toBe('valid');
  expect(at.verified.size).toBe(1);
  expect(reasonOf(token, at, nowMs - 10_000)).toBe('from-the-future');
  expect(verifyAgentToken(at, token, nowMs)).toEqual({ kind: 'refused', reason: 'purpose' });
  expect(reasonOf(token, at, nowMs + 3_600_000)).toBe('expired');
  expect(at.verified.size).toBe(0);
});

test('memory is bounded, refusals are not remembered, the least recently used goes first', () => {
  const at = createKeyRing(createConfiguration(written, { here: 'la' }), { maxCached: 3 });
  const tokens = [1, 2, 3, 4].map((n) =>
    issueSession(atNy, { ...session, account: `a${n}` }, { nowMs, maxAgeMs: 60_000 }),
  );
  for (const each of tokens.slice(0, 3)) expect(reasonOf(each, at)).toBe('valid');
  expect(reasonOf(tokens[0]!, at)).toBe('valid');
  expect(reasonOf(tokens[3]!, at)).toBe('valid');
  expect(at.verified.size).toBe(3);
  expect(tokens.map((each) => at.verified.get(each) !== undefined)).toEqual([true, false, true, true]);
  expect(reasonOf(`${token.slice(0, -4)}AAAA`, at)).toBe('signature');
  expect(at.verified.size).toBe(3);
});

describe('tokens between processes', () => {
  test('say which data center asks, for 30 seconds, for one purpose, in one cluster', () => {
    const agent = mintAgentToken(atNy, nowMs);
    expect(verifyAgentToken(atLa, agent, nowMs)).toEqual({ kind: 'valid', dataCenter: 'ny' });
    expect(verifyAgentToken(atLa, agent, nowMs + 29_999)).toMatchObject({ kind: 'valid' });
    expect(verifyAgentToken(atLa, agent, nowMs + 30_000)).toMatchObject({ reason: 'expired' });
    expect(verifyEdgeToken(atLa, agent, nowMs)).toMatchObject({ reason: 'purpose' });
    expect(verifyEdgeToken(atLa, mintEdgeToken(atNy, nowMs), nowMs)).toEqual({ kind: 'valid', dataCenter: 'ny' });
    const elsewhere = ringOf('la', la, { cluster: 'stop' });
    expect(verifyAgentToken(elsewhere, agent, nowMs)).toMatchObject({ reason: 'audience' });
  });

  test('a standing credential is refused, whoever signed it', async () => {
    const claims = { iss: 'ny', aud: 'lanekeeper-agent', cl: 'shop', iat: nowMs / 1000, exp: nowMs / 1000 + 31 };
    const head = { ...header, typ: 'lk-agent+jwt' };
    expect(verifyAgentToken(atLa, await signed(claims, head), nowMs)).toMatchObject({ reason: 'content' });
    expect(verifyAgentToken(atLa, await signed({ ...claims, exp: claims.iat + 30 }, head), nowMs)).toMatchObject({
      kind: 'valid',
    });
  });
});

describe('the private key of a process', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lanekeeper-keys-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  test('comes from the environment or a file', () => {
    const text = JSON.stringify(ny.privateJwk);
    expect(readSigningKey({})).toBe(null);
    expect(readSigningKey({ LANEKEEPER_SIGNING_KEY: text })).toMatchObject({
      kid: 'ny-1',
      dataCenter: 'ny',
      publicJwk: ny.publicJwk,
    });
    const file = join(directory, 'ny.key.json');
    writeFileSync(file, text);
    expect(readSigningKey({ LANEKEEPER_SIGNING_KEY_FILE: file })).toMatchObject({ kid: 'ny-1' });
    expect(() => readSigningKey({ LANEKEEPER_SIGNING_KEY_FILE: join(directory, 'none') })).toThrow(
      /cannot be read \(ENOENT\)/,
    );
  });

  test.each<[string, unknown, RegExp]>([
    ['text', 'secret', /is not JSON/],
    ['a list', [ny.privateJwk], /is not one key/],
    ['a public key', ny.publicJwk, /is a public key/],
    ['no kid', { ...ny.privateJwk, kid: undefined }, /no `kid`/],
    ['a path as kid', { ...ny.privateJwk, kid: '../ny-1' }, /no `kid`/],
    ['another curve', { ...ny.privateJwk, crv: 'P-384' }, /not a P-256 key/],
    ['halves of two keys', { ...ny.privateJwk, x: la.publicJwk.x, y: la.publicJwk.y }, /not a sound key/],
    ['no number', { ...ny.privateJwk, d: '!' }, /not a sound key/],
  ])('%s is refused without being repeated', (_name, key, message) => {
    const text = typeof key === 'string' ? key : JSON.stringify(key);
    const attempt = () => parseSigningKey(text, 'LANEKEEPER_SIGNING_KEY');
    expect(attempt).toThrow(message);
    expect(attempt).not.toThrow(ny.privateJwk.d);
  });

  test('must be the one of this data center, and known to the others', () => {
    const signingKey = parseSigningKey(JSON.stringify(la.privateJwk), 'test');
    expect(() => createKeyRing(createConfiguration(written, { here: 'ny' }), { signingKey })).toThrow(
      /belongs to la, and this process is in ny/,
    );
    const unknown = parseSigningKey(JSON.stringify(generateKeyPair('ny', 9).privateJwk), 'test');
    expect(() => createKeyRing(createConfiguration(written, { here: 'ny' }), { signingKey: unknown })).toThrow(
      /ny-9 is not in `sessions.keys`/,
    );
    const other = parseSigningKey(JSON.stringify(generateKeyPair('ny', 1).privateJwk), 'test');
    expect(() => createKeyRing(createConfiguration(written, { here: 'ny' }), { signingKey: other })).toThrow(
      /not the public half/,
    );
    expect(() => issueSession(ringOf('ny', null), session, { nowMs, maxAgeMs: 1000 })).toThrow(/no signing key/);
    expect(() => generateKeyPair('NY')).toThrow(/cannot be a key id/);
  });
});
