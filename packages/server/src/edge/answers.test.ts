import fc from 'fast-check';
import { errors } from 'lanekeeper/model';
import { describe, expect, test } from 'vitest';
import { redirect, refuse, serialize } from './answers.ts';

const valueIn = (pairs: readonly string[], name: string) => pairs[pairs.indexOf(name) + 1];
const home = 'https://la.shop.example';

describe('redirects', () => {
  test('keep path and query', () => {
    const answer = redirect(home, '/a/b?c=d&c=e', null, 'ny', ['s=1']);
    expect(answer?.status).toBe(307);
    expect(valueIn(answer?.headers ?? [], 'Location')).toBe(`${home}/a/b?c=d&c=e`);
    expect(valueIn(answer?.headers ?? [], 'Set-Cookie')).toBe('s=1');
  });

  test('carry a handoff token, in place of an older one', () => {
    const location = (path: string) => valueIn(redirect(home, path, 'new', 'ny', [])?.headers ?? [], 'Location');
    expect(location('/')).toBe(`${home}/?lanekeeper-handoff=new`);
    expect(location('/a?b=c')).toBe(`${home}/a?b=c&lanekeeper-handoff=new`);
    expect(location('/a?lanekeeper-handoff=old&b=c?d')).toBe(`${home}/a?b=c?d&lanekeeper-handoff=new`);
  });

  test('lead to the configured origin whatever the path, and are one line of ASCII', () => {
    const path = fc.string({ unit: 'binary', maxLength: 30 }).map((text) => `/${Buffer.from(text).toString('latin1')}`);
    fc.assert(
      fc.property(path, fc.constantFrom(null, 'token'), (raw, handoff) => {
        const answer = redirect(home, raw, handoff, 'ny', []);
        if (answer === null) return;
        const location = valueIn(answer.headers, 'Location') as string;
        expect(location).toMatch(/^[!-~]+$/);
        expect(new URL(location).origin).toBe(home);
      }),
      { seed: 3, numRuns: 1_000 },
    );
  });

  test('that would lead anywhere else are not made', () => {
    expect(redirect(home, '.evil/', null, 'ny', [])).toBeNull();
    expect(redirect(home, '@evil/', null, 'ny', [])).toBeNull();
    expect(redirect(home, ':81/', null, 'ny', [])).toBeNull();
  });
});

describe('refusals', () => {
  const facts = { code: 'LK_HOME_UNREACHABLE', here: 'ny', home: 'la', requestHeaders: [] } as const;

  test('say what, where, and when to try again', () => {
    const { status, headers, body } = refuse({ ...facts, requestHeaders: ['X-Request-ID', 'r-1'] });
    expect(status).toBe(503);
    expect(JSON.parse(body)).toEqual({
      error: {
        code: 'LK_HOME_UNREACHABLE',
        message: errors.LK_HOME_UNREACHABLE.help,
        dataCenter: 'ny',
        home: 'la',
        retryAfterMs: 2_000,
        requestId: 'r-1',
      },
    });
    expect(valueIn(headers, 'Retry-After')).toBe('2');
    expect(valueIn(headers, 'Content-Length')).toBe(String(Buffer.byteLength(body)));
    for (const requestHeaders of [['X-Request-Id', '<script>'], []]) {
      expect(JSON.parse(refuse({ ...facts, requestHeaders }).body).error.requestId).toMatch(/^[\da-f-]{36}$/);
    }
  });

  test('are pages for those who would rather have one', () => {
    const typeFor = (accept: string) =>
      valueIn(refuse({ ...facts, requestHeaders: ['accept', accept] }).headers, 'Content-Type');
    expect(typeFor('text/html,application/xhtml+xml')).toContain('text/html');
    expect(typeFor('application/json, text/html')).toContain('application/json');
    expect(typeFor('*/*')).toContain('application/json');
    expect(refuse({ ...facts, requestHeaders: ['Accept', 'text/html'] }).body).toContain('your data are in la');
  });

  test('of what cannot simply be tried again promise nothing', () => {
    const { headers, body } = refuse({ ...facts, code: 'LK_NO_ANSWER' });
    expect(headers).not.toContain('Retry-After');
    expect(JSON.parse(body).error.retryAfterMs).toBeNull();
  });

  test('as bytes', () => {
    const text = serialize(refuse({ ...facts, code: 'LK_BAD_REQUEST' }), 'Bad Request');
    expect(text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\nConnection: close\r\n(?:[\w-]+: [^\r\n]*\r\n)+\r\n\{"error":/);
  });
});
