import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { signHook, verifyHook } from './hook-signature.ts';

const nowMs = 1_700_000_000_500;
const body = '{"kind":"takeover","note":"Zürich"}';

describe('the signature of a hook', () => {
  it('is the one that the header promises', () => {
    const expected = createHmac('sha256', 'secret').update(`1700000000.${body}`).digest('hex');
    expect(signHook('secret', body, nowMs)).toBe(`t=1700000000,v1=${expected}`);
  });

  it('is good for this secret, this body and this time', () => {
    const signature = signHook('secret', body, nowMs);
    expect(verifyHook('secret', signature, body, { nowMs })).toEqual({ kind: 'genuine' });
    expect(verifyHook('other', signature, body, { nowMs })).toEqual({ kind: 'refused', reason: 'forged' });
    expect(verifyHook('secret', signature, `${body} `, { nowMs })).toEqual({ kind: 'refused', reason: 'forged' });
    expect(verifyHook('secret', signature, body, { nowMs: nowMs + 301_000 })).toEqual({
      kind: 'refused',
      reason: 'stale',
    });
    const later = signature.replace('t=1700000000', 't=1700000300');
    expect(verifyHook('secret', later, body, { nowMs: nowMs + 300_000 })).toEqual({
      kind: 'refused',
      reason: 'forged',
    });
  });

  it.each([undefined, '', 't=1,v1=', 't=x,v1=00', `t=1,v1=${'g'.repeat(64)}`, `v1=${'0'.repeat(64)}`])(
    'refuses %s',
    (signature) => {
      expect(verifyHook('secret', signature, body)).toEqual({ kind: 'refused', reason: 'malformed' });
    },
  );
});
