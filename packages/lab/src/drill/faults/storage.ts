/** Faults of storage: slots, old copies, full disks. */
import { execFile } from 'node:child_process';
import { chown, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Arena, bend, dataFolderOf, session, sql, turn, until } from './arena.ts';
import { type Fault, longerThanLeaseMs, takeoverExpectation } from './fault.ts';
import { seedAgain } from './repair.ts';

/** Every file with its owner, as `cp -a` does it. */
async function copy(from: string, to: string): Promise<void> {
  await promisify(execFile)('cp', ['-a', from, to], { timeout: 120_000 });
}

/** Where the copy is that a drill puts back. */
const copies = new WeakMap<Arena, string>();

export const storageFaults: readonly Fault[] = [
  {
    name: 'slot-invalidated',
    group: 'storage',
    description: 'the other data center was away for longer than WAL is kept: its slots are lost',
    holdMs: 10_000,
    usesUp: true,
    expectation: {
      text: 'customers go on until an operator stops the one that has lost changes, lets it be taken over, and seeds it again',
      writesAgainMs: 12_000,
      after: 'heal',
      othersPauseMs: null,
      why: 'the other data center is stopped to be seeded again',
    },
    async inject(arena) {
      const { at, other } = arena;
      await bend(arena, at, other, { mode: 'refuse' });
      await sql(arena, at, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
      arena.undo(async () => {
        await sql(arena, at, 'ALTER SYSTEM RESET max_slot_wal_keep_size');
        await sql(arena, at, 'SELECT pg_reload_conf()');
      });
      await sql(arena, at, 'SELECT pg_reload_conf()');
      const lost = await until(arena, 30_000, async () => {
        // WAL that nobody publishes, and a new file for it.
        await sql(arena, at, "SELECT pg_logical_emit_message(false, 'drill', repeat('x', 4000000))");
        await sql(arena, at, 'SELECT pg_switch_wal()');
        await sql(arena, at, 'CHECKPOINT');
        const rows = await sql<{ status: string }>(
          arena,
          at,
          "SELECT wal_status AS status FROM pg_replication_slots WHERE plugin = 'pgoutput'",
        );
        return rows.length > 0 && rows.every(({ status }) => status === 'lost');
      });
      if (!lost) throw new Error('the slots were not lost');
      arena.note(`the slots of ${other} are lost`);
    },
    async heal(arena) {
      await bend(arena, arena.at, arena.other, { mode: 'open' });
      const told = await until(arena, 10_000, async () => (await arena.problems()).length > 0);
      if (!told) throw new Error('`lanekeeper status` found nothing to complain about');
      await seedAgain(arena, arena.other, arena.at);
    },
  },
  {
    name: 'datadir-restored',
    group: 'storage',
    description: 'a data center comes back with an old copy of its database, as after a restore by somebody in a hurry',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    usesUp: true,
    expectation: {
      ...takeoverExpectation('it gets no lease; the other data center takes over; it is seeded again'),
      othersPauseMs: 6_000,
    },
    async prepare(arena) {
      const data = await dataFolderOf(arena, arena.at);
      const old = join(dirname(data), 'old-copy');
      await rm(old, { recursive: true, force: true });
      // As documented for a copy of a running cluster: the label tells where its recovery begins, and its log is copied last.
      const client = await session(arena, arena.at, 'superuser');
      await client.query("SELECT pg_backup_start('drill', true)");
      await copy(data, old);
      const { rows } = await client.query<{ labelfile: string }>('SELECT labelfile FROM pg_backup_stop(false)');
      await rm(join(old, 'pg_wal'), { recursive: true, force: true });
      await copy(join(data, 'pg_wal'), join(old, 'pg_wal'));
      const label = join(old, 'backup_label');
      await writeFile(label, rows[0]?.labelfile ?? '');
      const { uid, gid } = await stat(data);
      await chown(label, uid, gid);
      await rm(join(old, 'postmaster.pid'), { force: true });
      copies.set(arena, old);
    },
    async inject(arena) {
      const data = await dataFolderOf(arena, arena.at);
      const old = copies.get(arena);
      if (old === undefined) throw new Error('there is no copy');
      await turn(arena, arena.at, 'postgres', 'kill');
      arena.undo(() => turn(arena, arena.at, 'postgres', 'start'));
      await rename(data, `${data}-lost`);
      await rename(old, data);
      await turn(arena, arena.at, 'postgres', 'start');
      arena.note('PostgreSQL runs again, with what was there before the customers came');
    },
    heal: (arena) => seedAgain(arena, arena.at, arena.other),
  },
  {
    name: 'disk-full',
    group: 'storage',
    description: 'the disk of PostgreSQL is full; later there is room again',
    holdMs: longerThanLeaseMs,
    takesOver: true,
    needs: { smallDisk: true },
    expectation: takeoverExpectation('PostgreSQL ends or refuses to write; the other data center takes over'),
    async inject(arena) {
      const data = await dataFolderOf(arena, arena.at);
      const filler = join(dirname(data), 'filler');
      arena.undo(async () => {
        await rm(filler, { force: true });
        await turn(arena, arena.at, 'postgres', 'start');
      });
      const { bavail, bsize } = await statfs(dirname(data));
      if (bavail * bsize > 1024 * 1024 * 1024) throw new Error('this disk is not a small one');
      // To the last block: what does not fit any more is the point.
      await promisify(execFile)('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k'], { timeout: 60_000 }).catch(() => {});
      await writeFile(`${filler}-too`, 'x'.repeat(64 * 1024)).catch(() => {});
      arena.undo(() => rm(`${filler}-too`, { force: true }));
      arena.note(`${Math.round((bavail * bsize) / 1024 / 1024)} MB were left and are filled`);
    },
  },
];
