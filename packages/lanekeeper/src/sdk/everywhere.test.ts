import { describe, expect, test } from 'vitest';
import { createConfiguration } from '../config/index.ts';
import type { AgentClient } from './agent-client.ts';
import type { Databases } from './databases.ts';
import { tableEverywhere } from './everywhere.ts';

const configuration = (store: 'postgres' | 'nats') =>
  createConfiguration(
    {
      cluster: 'shop',
      approach: 'active-passive',
      dataCenters: {
        ny: { place: 'a', faultDomain: 'a', database: 'postgres://127.0.0.1:1/shop', url: 'http://127.0.1.1:1' },
        la: { place: 'b', faultDomain: 'b', database: 'postgres://127.0.0.1:2/shop', url: 'http://127.0.1.2:1' },
      },
      leases: { store: 'postgres', url: 'postgres://127.0.0.1:3/witness' },
      tables: { notes: { class: 'cache', writes: 'buffered' }, plain: { class: 'session-state' } },
      buffer: store === 'nats' ? { store, urls: ['nats://127.0.0.1:4'] } : {},
    },
    { here: 'ny' },
  );

function notes(store: 'postgres' | 'nats', answer: object) {
  const asked: unknown[][] = [];
  const databases = {
    ask: async (_: string, __: string, values: unknown[]) => {
      asked.push(values);
      return answer;
    },
  } as unknown as Databases;
  const agents = { call: async () => ({ kind: 'answers', answers: [answer] }) } as unknown as AgentClient;
  return { asked, table: tableEverywhere({ configuration: configuration(store), databases, agents }, 'notes') };
}
const logged = { kind: 'answered', rows: [{ position: '1' }] };

describe('a row on its way', () => {
  test('is JSON that PostgreSQL reads back: dates, bytes, big integers', async () => {
    const { table, asked } = notes('postgres', logged);
    const at = new Date('2026-01-02T03:04:05.678Z');
    await table.put({
      at,
      bytes: Buffer.from([0, 255]),
      view: new Uint8Array([1]),
      big: 2n ** 63n,
      none: null,
      list: [1n],
    });
    expect(asked[0]?.[1]).toBe(
      '{"at":"2026-01-02T03:04:05.678Z","bytes":"\\\\x00ff","view":"\\\\x01","big":"9223372036854775808","none":null,"list":["1"]}',
    );
  });

  test('says what became of it', async () => {
    const ends = async (store: 'postgres' | 'nats', answer: object) => notes(store, answer).table.put({ id: 1 });
    const fault = Object.assign(new Error('no'), { code: '23502', severity: 'ERROR' });
    const lost = new Error('Connection terminated');
    expect(await ends('postgres', logged)).toEqual({ kind: 'buffered', durability: 'local', position: '1' });
    await expect(ends('postgres', { kind: 'unavailable', error: lost })).rejects.toMatchObject({
      code: 'LK_NOT_LOGGED',
    });
    await expect(ends('postgres', { kind: 'failed', error: fault })).rejects.toBe(fault);
    await expect(ends('postgres', { kind: 'failed', error: lost })).rejects.toMatchObject({
      code: 'LK_OUTCOME_UNKNOWN',
    });
    const buffered = { kind: 'buffered', durability: 'replicated(3)', position: '7' };
    expect(await ends('nats', buffered)).toEqual(buffered);
    await expect(ends('nats', { kind: 'unavailable', reason: 'away' })).rejects.toMatchObject({
      code: 'LK_NOT_LOGGED',
    });
    await expect(ends('nats', { kind: 'unknown', reason: 'late' })).rejects.toMatchObject({
      code: 'LK_OUTCOME_UNKNOWN',
    });
    await expect(ends('nats', { kind: 'refused', state: '42703', message: 'no column' })).rejects.toMatchObject({
      code: '42703',
    });
  });

  test('goes into a transaction of PostgreSQL only where the log is there', async () => {
    const client = { query: async () => ({ rows: [{ position: '2' }] }) };
    const put = notes('postgres', logged).table.put({ id: 1 }, { client });
    expect(await put).toEqual({ kind: 'buffered', durability: 'transaction', position: '2' });
    await expect(notes('nats', logged).table.put({ id: 1 }, { client })).rejects.toThrow(TypeError);
  });
});

test('writes that come while requests are under way go together', async () => {
  const bodies: { writes: { row: { id: number } }[] }[] = [];
  const agents = {
    call: async ({ body }: { body: (typeof bodies)[number] }) => {
      bodies.push(body);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return {
        kind: 'answers',
        answers: body.writes.map(({ row }) => ({ kind: 'buffered', position: String(row.id) })),
      };
    },
  } as unknown as AgentClient;
  const table = tableEverywhere({ configuration: configuration('nats'), databases: {} as never, agents }, 'notes');
  const puts = await Promise.all(Array.from({ length: 120 }, (_, id) => table.put({ id })));
  expect(puts.map((put) => (put as { position: string }).position)).toEqual(puts.map((_, id) => String(id)));
  expect(bodies.map(({ writes }) => writes.length)).toEqual([1, 1, 50, 50, 18]);
  bodies.length = 0;
  await Promise.all(Array.from({ length: 5 }, (_, id) => table.put({ id, text: 'x'.repeat(150_000) })));
  expect(bodies.map(({ writes }) => writes.length)).toEqual([1, 1, 1, 1, 1]);
});

test('only tables that are written this way', () => {
  const none = {} as never;
  const at = (name: string) =>
    tableEverywhere({ configuration: configuration('postgres'), databases: none, agents: none }, name);
  expect(() => at('plain')).toThrow(/public\.notes/);
  expect(() => at('nothing')).toThrow(/not in the configuration/);
  at('public.notes');
});
