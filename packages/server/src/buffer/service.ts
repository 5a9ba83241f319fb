/** Everything an agent does for tables that are written in every data center: appends, drains, says how it stands. */
import type { Configuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { countAside } from './aside.ts';
import { Drain } from './drainer.ts';
import type { Appended, BufferLog, GivenWrite } from './log.ts';
import { localPool } from './pool.ts';
import { messageOf } from './sqlstate.ts';
import { type ConnectTarget, Target } from './target.ts';

export type BufferServiceOptions = {
  readonly configuration: Configuration;
  /** The local database as the agent's role. */
  readonly databaseUrl: string;
  readonly connect: (dc: DataCenterName) => ConnectTarget;
  /** Those that are drained. Closed with the service. */
  readonly logs: readonly BufferLog[];
  /** The one that takes writes to `buffered` tables. */
  readonly appendTo: BufferLog;
  readonly note?: (level: 'info' | 'warn', event: string, details: Readonly<Record<string, unknown>>) => void;
};

export type DrainStanding = {
  readonly log: string;
  readonly target: DataCenterName;
  readonly waiting: number;
  readonly oldestSeconds: number | null;
  readonly drained: number;
  readonly problem: string | null;
};

export type BufferStanding = {
  readonly drains: readonly DrainStanding[];
  readonly aside: { readonly retrying: number; readonly poison: number };
  /** Why a log cannot be asked; empty when all could. */
  readonly problems: readonly string[];
};

export type BufferService = {
  start(leads: () => boolean): void;
  append(write: GivenWrite): Promise<Appended>;
  standing(): Promise<BufferStanding>;
  close(): Promise<void>;
};

const noteEveryMs = 1_000;
const forgetEveryMs = 10 * 60_000;

export function bufferService(options: BufferServiceOptions): BufferService {
  const { configuration, databaseUrl, connect, logs, appendTo, note = () => {} } = options;
  const dcs = Object.keys(configuration.dataCenters);
  const local = localPool(databaseUrl, `lanekeeper buffer ${configuration.here} aside`, 3);
  const targets: Target[] = [];
  const drains: Drain[] = [];
  const timers: NodeJS.Timeout[] = [];
  let noting: Promise<void> = Promise.resolve();

  async function standing(): Promise<BufferStanding> {
    const problems: string[] = [];
    const standings: DrainStanding[] = [];
    for (const log of logs) {
      const lags = await log.lag().catch((error: unknown) => {
        problems.push(`the log in ${log.name} does not answer: ${messageOf(error)}`);
        return null;
      });
      for (const target of dcs) {
        const drain = drains.find((one) => one.log === log.name && one.target === target);
        const lag = lags?.get(target);
        standings.push({
          log: log.name,
          target,
          waiting: lag?.waiting ?? 0,
          oldestSeconds: lag?.oldestAt == null ? null : Math.max(0, (Date.now() - lag.oldestAt.getTime()) / 1000),
          drained: drain?.drained ?? 0,
          problem: drain?.problem ?? null,
        });
      }
    }
    return { drains: standings, aside: await countAside(local), problems };
  }

  /** For commands, which ask the database, whoever of the agents leads. */
  async function notePlace(): Promise<void> {
    const { drains: seen } = await standing();
    await local.query(
      `INSERT INTO lanekeeper.buffer_progress AS p (log, target, drained, waiting, oldest_at, problem)
         SELECT r.log, r.target, r.drained, r.waiting, pg_catalog.clock_timestamp() - r."oldestSeconds" * interval '1 second', r.problem
           FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS r (log text, target text, drained bigint, waiting bigint, "oldestSeconds" float8, problem text)
         ON CONFLICT (log, target) DO UPDATE SET drained = EXCLUDED.drained, waiting = EXCLUDED.waiting, oldest_at = EXCLUDED.oldest_at,
           problem = EXCLUDED.problem, seen_at = pg_catalog.clock_timestamp()`,
      [JSON.stringify(seen)],
    );
  }

  return {
    start(leads) {
      for (const log of logs)
        for (const name of dcs) {
          const target = new Target(name, connect(name));
          const drain = new Drain({ log, target, local, retryMs: configuration.buffer.retryMs, leads, note });
          targets.push(target);
          drains.push(drain);
          drain.start();
        }
      const whenLeading = (what: string, everyMs: number, work: () => Promise<unknown>) => {
        timers.push(
          setInterval(() => {
            if (!leads()) return;
            noting = noting.then(work).then(
              () => {},
              (error: unknown) => note('warn', `${what} failed`, { error: messageOf(error) }),
            );
          }, everyMs),
        );
      };
      whenLeading('noting how far the logs are drained', noteEveryMs, notePlace);
      whenLeading('forgetting removed rows', forgetEveryMs, () =>
        local.query("SELECT lanekeeper.forget_spread($1 * interval '1 millisecond')", [
          configuration.merge.keepTombstonesMs,
        ]),
      );
    },
    append: (write) => appendTo.append(write),
    standing,
    async close() {
      for (const timer of timers) clearInterval(timer);
      await Promise.all([...drains.map((drain) => drain.close()), ...targets.map((target) => target.close())]);
      await noting;
      await Promise.all([...logs.map((log) => log.close()), local.end()]);
    },
  };
}
