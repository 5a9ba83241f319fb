/**
 * A physical standby of a cluster: copied while the primary runs, attached by a slot of its own, promoted when asked.
 * The npm package has no pg_basebackup, so the copy is made between `pg_backup_start` and `pg_backup_stop`, and what was
 * written meanwhile comes from the primary.
 */
import { chmod, chown, copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, escapeLiteral } from 'pg';
import { sleepMs } from '../processes/observe.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { asSuperuser } from './database.ts';
import { findNative, type SystemUser } from './native.ts';
import type { SettingValue } from './settings.ts';

/** What is needed of a primary, which may be another process's. */
export type Primary = Pick<Cluster, 'dir' | 'host' | 'superuserUrl'>;

export type StandbyOptions = {
  readonly primary: Primary;
  /** Its own folder, which does not exist or is empty. */
  readonly dir: string;
  /** Of its slot on the primary, and its `application_name` there: small letters, digits and `_`. */
  readonly name: string;
  /** Where it connects for what logical slots are synchronised by (PostgreSQL 17). Default: it synchronises none. */
  readonly database?: string;
  /** As for the primary, whose limits it must not be below. */
  readonly settings?: Readonly<Record<string, SettingValue>>;
};

export type Standby = Cluster & {
  /** How far it has replayed: a position of the primary's log. */
  replayed(): Promise<string>;
  /** Until it has replayed what the primary has written by now, and keeps the slots that it was told to keep. */
  untilCaughtUp(slots?: readonly string[]): Promise<void>;
  /** Ends being a standby; resolves when it accepts writes. */
  promote(): Promise<void>;
};

/** Slots are looked at less and less often, every 30 s in the end. */
const withinMs = 60_000;
const snapshotEveryMs = 500;
const pollMs = 20;
/** Made anew at every start, or kept by the primary for itself. */
const leftOut = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_stat_tmp',
  'pg_dynshmem',
  'pg_notify',
  'pg_subtrans',
  'pg_serial',
]);
const leftOutFiles = new Set(['postmaster.pid', 'postmaster.opts', 'lanekeeper.conf', 'standby.signal']);

/** Copies the primary, which has to run, and starts the copy. Resolves when the copy answers. */
export async function startStandby(options: StandbyOptions): Promise<Standby> {
  const { primary, dir, name, database, settings = {} } = options;
  const { user } = await findNative();
  await mkdir(dir, { recursive: true, mode: 0o755 });
  const data = join(dir, 'data');
  await copyRunning(primary, name, data, user);
  await writeFile(join(dir, 'superuser-password'), await readFile(join(primary.dir, 'superuser-password')), {
    mode: 0o600,
  });
  const cluster = await startCluster({
    dir,
    host: primary.host,
    durable: false,
    settings: {
      cluster_name: name,
      hot_standby: true,
      hot_standby_feedback: true,
      primary_slot_name: name,
      primary_conninfo: connectionOf(primary, name, database),
      ...(database === undefined ? {} : { sync_replication_slots: true }),
      ...settings,
    },
  });
  return Object.assign(cluster, {
    replayed: () => one<string>(cluster, 'SELECT pg_last_wal_replay_lsn()::text'),
    async untilCaughtUp(slots: readonly string[] = []) {
      const target = await one<string>(primary, 'SELECT pg_current_wal_flush_lsn()::text');
      const sql = `SELECT pg_last_wal_replay_lsn() >= ${escapeLiteral(target)} AND ${slots.length} = (SELECT count(*)
        FROM pg_replication_slots WHERE slot_name = ANY (${escapeLiteral(`{${slots.join()}}`)}) AND NOT temporary)`;
      let saidMs = Number.NEGATIVE_INFINITY;
      await until(async () => {
        // Where nobody writes the primary's slots stay behind what a new standby can keep, until the primary says who is running.
        if (slots.length > 0 && performance.now() - saidMs >= snapshotEveryMs) {
          saidMs = performance.now();
          await one(primary, 'SELECT pg_log_standby_snapshot()::text');
        }
        return one<boolean>(cluster, sql);
      }, `${name} does not catch up`);
    },
    async promote() {
      await asSuperuser(cluster, 'postgres', (client) => client.query('SELECT pg_promote(wait => true)'));
      await until(async () => !(await one<boolean>(cluster, 'SELECT pg_is_in_recovery()')), `${name} is not promoted`);
    },
  });
}

/** The primary's address and superuser, as `primary_conninfo` has it. */
function connectionOf(primary: Primary, name: string, database: string | undefined): string {
  const { hostname, port, username, password } = new URL(primary.superuserUrl());
  const parts = {
    host: hostname,
    port,
    user: username,
    password: decodeURIComponent(password),
    application_name: name,
  };
  return Object.entries(database === undefined ? parts : { ...parts, dbname: database })
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

async function copyRunning(primary: Primary, slot: string, data: string, user: SystemUser | undefined): Promise<void> {
  const client = new Client({ connectionString: primary.superuserUrl() });
  await client.connect();
  try {
    await client.query('SELECT pg_create_physical_replication_slot($1, true)', [slot]);
    await client.query(`SELECT pg_backup_start('standby', fast => true)`);
    const source = await client.query<{ data: string }>(`SELECT current_setting('data_directory') AS data`);
    await rm(data, { recursive: true, force: true });
    await copyFolder(source.rows[0]?.data as string, data, user, true);
    // The primary keeps the log for the slot: nothing has to be archived.
    const { rows } = await client.query<{ label: string }>(
      'SELECT labelfile AS label FROM pg_backup_stop(wait_for_archive => false)',
    );
    for (const [file, text] of [
      ['backup_label', rows[0]?.label as string],
      ['standby.signal', ''],
    ] as const) {
      await writeFile(join(data, file), text, { mode: 0o600 });
      if (user) await chown(join(data, file), user.uid, user.gid);
    }
  } finally {
    await client.end();
  }
}

async function copyFolder(from: string, to: string, user: SystemUser | undefined, top: boolean): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  if (user) await chown(to, user.uid, user.gid);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      if (!top || !leftOut.has(entry.name)) await copyFolder(source, target, user, false);
      else await makeEmpty(target, entry.name === 'pg_wal' ? ['archive_status', 'summaries'] : [], user);
      continue;
    }
    if (top && leftOutFiles.has(entry.name)) continue;
    try {
      await copyFile(source, target);
    } catch (error) {
      // A table or a temporary file that was dropped meanwhile: the log says so.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    await chmod(target, 0o600);
    if (user) await chown(target, user.uid, user.gid);
  }
}

async function makeEmpty(folder: string, within: readonly string[], user: SystemUser | undefined): Promise<void> {
  for (const one of [folder, ...within.map((name) => join(folder, name))]) {
    await mkdir(one, { mode: 0o700 });
    if (user) await chown(one, user.uid, user.gid);
  }
}

async function one<T>(cluster: Pick<Cluster, 'superuserUrl'>, sql: string): Promise<T> {
  const client = new Client({ connectionString: cluster.superuserUrl() });
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
    return rows[0]?.[0] as T;
  } finally {
    await client.end();
  }
}

async function until(look: () => Promise<boolean>, problem: string): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await look())) {
    if (performance.now() > deadlineMs) throw new Error(`${problem} within ${withinMs} ms`);
    await sleepMs(pollMs);
  }
}
