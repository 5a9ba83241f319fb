/** What every adapter of the log behind `buffered` tables must do, whatever it is made of. */
import type { Appended, BufferLog, LoggedWrite } from '@lanekeeper/server/buffer';
import { expect, it } from 'vitest';

export type LogUnderTest = {
  /** Another client of the log of `here`; targets are ny and la. The suite closes what it opens. */
  open(): BufferLog;
  /** Ends the process behind the log as a crash would, and starts it again. */
  crash(): Promise<void>;
};

const targets = ['ny', 'la'] as const;

/** Declares the suite. The database behind has `notes (id text PRIMARY KEY, body text NOT NULL)`, `buffered`. */
export function bufferLogConforms(log: LogUnderTest): void {
  let keys = 0;
  const fresh = () => `k${++keys}`;
  const withLogs = async (count: number, run: (...logs: BufferLog[]) => Promise<void>) => {
    const logs = Array.from({ length: count }, () => log.open());
    try {
      await run(...logs);
      // Nothing is left for the next test.
      for (const target of targets) await drain(logs[0] as BufferLog, target);
    } finally {
      await Promise.all(logs.map((one) => one.close()));
    }
  };
  const put = (to: BufferLog, id: string, body = 'x') =>
    to.append({ table: 'public.notes', row: { id, body }, remove: false });
  const positionOf = (appended: Appended): string => {
    if (appended.kind !== 'buffered') throw new Error(JSON.stringify(appended));
    return appended.position;
  };
  /** Everything that is there to be read for a target, acknowledged as it comes. */
  const drain = async (from: BufferLog, target: string): Promise<LoggedWrite[]> => {
    const seen: LoggedWrite[] = [];
    for (let looks = 0; looks < 100; looks++) {
      const done = ((await from.lag()).get(target)?.waiting ?? 0) === 0;
      const writes = await from.read(target, 100);
      seen.push(...writes);
      await from.ack(
        target,
        writes.map(({ position }) => position),
      );
      if (done) break;
    }
    return seen;
  };
  /** The log's own count, which may be a moment behind what was just written or acknowledged. */
  const expectWaiting = (log: BufferLog, target: string, count: number) =>
    expect.poll(async () => (await log.lag()).get(target)?.waiting ?? 0).toBe(count);
  /** So many, which may arrive one by one. */
  const readSome = async (from: BufferLog, target: string, count: number): Promise<LoggedWrite[]> => {
    const seen: LoggedWrite[] = [];
    for (let looks = 0; looks < 50 && seen.length < count; looks++)
      seen.push(...(await from.read(target, count - seen.length)));
    return seen;
  };
  const bodies = (writes: readonly LoggedWrite[]) =>
    writes.map(({ image }) => (image as { body: string } | null)?.body);

  it('acknowledges with a position and what the write survives', () =>
    withLogs(1, async (one) => {
      const appended = await put(one, fresh());
      expect(appended).toMatchObject({ kind: 'buffered' });
      expect((appended as { durability: string }).durability).toMatch(/^(local|unsynced|replicated\(\d\))$/);
      expect(positionOf(await put(one, fresh()))).not.toBe(positionOf(appended));
    }));

  it('gives every target what was appended, whole, in order, with versions that rise per key', () =>
    withLogs(2, async (one, other) => {
      const [a, b] = [fresh(), fresh()];
      for (let n = 0; n < 30; n++) await put(n % 2 === 0 ? one : other, n % 3 === 0 ? a : b, `${n}`);
      for (const target of targets) {
        const writes = await drain(one, target);
        expect(bodies(writes)).toEqual(Array.from({ length: 30 }, (_, n) => `${n}`));
        for (const key of [a, b]) {
          const stamps = writes.filter((write) => write.key[0] === key).map(({ stamp }) => BigInt(stamp));
          expect(stamps.every((stamp, n) => n === 0 || stamp > (stamps[n - 1] as bigint))).toBe(true);
        }
        expect(writes[0]).toMatchObject({ relation: 'public.notes', key: [a], image: { id: a, body: '0' }, dc: 'ny' });
        expect(Math.abs((writes[0] as LoggedWrite).at.getTime() - Date.now())).toBeLessThan(60_000);
      }
    }));

  it('carries removals', () =>
    withLogs(1, async (one) => {
      const id = fresh();
      await put(one, id);
      expect((await one.append({ table: 'public.notes', row: { id }, remove: true })).kind).toBe('buffered');
      const writes = await drain(one, 'la');
      expect(writes.map(({ key, image }) => [key, image === null])).toEqual([
        [[id], false],
        [[id], true],
      ]);
    }));

  it('refuses what is wrong in itself, before it is logged', () =>
    withLogs(1, async (one) => {
      const refused = async (row: Record<string, unknown>, state: string, table = 'public.notes') =>
        expect(await one.append({ table, row, remove: false })).toMatchObject({ kind: 'refused', state });
      await refused({ id: fresh(), body: 'x', colour: 'red' }, '42703');
      await refused({ id: fresh() }, '23502');
      await refused({ body: 'x' }, '23502');
      await refused({ id: 'x' }, '42809', 'public.nothing');
      expect(await drain(one, 'ny')).toEqual([]);
    }));

  it('keeps what one target has not acknowledged, whatever the other did', () =>
    withLogs(1, async (one) => {
      await put(one, fresh(), 'first');
      await put(one, fresh(), 'second');
      expect(bodies(await drain(one, 'ny'))).toEqual(['first', 'second']);
      expect(bodies(await drain(one, 'ny'))).toEqual([]);
      await expectWaiting(one, 'la', 2);
      expect(bodies(await drain(one, 'la'))).toEqual(['first', 'second']);
    }));

  it('gives again what was read and given back', () =>
    withLogs(1, async (one) => {
      await put(one, fresh(), 'a');
      await put(one, fresh(), 'b');
      expect(bodies(await readSome(one, 'la', 2))).toEqual(['a', 'b']);
      await one.giveBack('la');
      expect(bodies(await drain(one, 'la')).sort()).toEqual(['a', 'b']);
    }));

  it('gives another reader what one took and did not acknowledge', () =>
    withLogs(1, async (one) => {
      await put(one, fresh(), 'left');
      const gone = log.open();
      expect(bodies(await readSome(gone, 'la', 1))).toEqual(['left']);
      await gone.close();
      await expect.poll(async () => bodies(await drain(one, 'la')), { timeout: 20_000 }).toEqual(['left']);
    }));

  it('takes an acknowledgement twice', () =>
    withLogs(1, async (one) => {
      await put(one, fresh(), 'x');
      const positions = (await readSome(one, 'la', 1)).map(({ position }) => position);
      await one.ack('la', positions);
      await one.ack('la', positions);
      await one.ack('la', []);
      expect(await drain(one, 'la')).toEqual([]);
    }));

  it('says how much waits and since when, and nothing when nothing does', () =>
    withLogs(1, async (one) => {
      for (const target of targets) await drain(one, target);
      await expectWaiting(one, 'la', 0);
      for (let n = 0; n < 3; n++) await put(one, fresh());
      await expectWaiting(one, 'la', 3);
      const lag = (await one.lag()).get('la');
      expect(Math.abs((lag?.oldestAt?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
      await drain(one, 'la');
      await expectWaiting(one, 'la', 0);
      await expectWaiting(one, 'ny', 3);
    }));

  it(
    'keeps, over a crash of what is behind it, everything it acknowledged',
    () =>
      withLogs(1, async (one) => {
        const acknowledged: string[] = [];
        let crashed: Promise<void> | null = null;
        for (let n = 0; n < 300; n++) {
          if (n === 100) crashed = log.crash();
          if ((await put(one, fresh(), `${n}`)).kind === 'buffered') acknowledged.push(`${n}`);
        }
        await crashed;
        await expect
          .poll(async () => (await put(one, fresh(), 'back')).kind, { timeout: 20_000, interval: 200 })
          .toBe('buffered');
        for (const target of targets) {
          const seen = new Set<string | undefined>();
          await expect
            .poll(
              async () => {
                for (const body of bodies(await drain(one, target).catch(() => []))) seen.add(body);
                return acknowledged.filter((body) => !seen.has(body));
              },
              { timeout: 20_000 },
            )
            .toEqual([]);
        }
      }),
    60_000,
  );
}
