/** Faults of data: what an administrator, a migration or a bug may do to the streams. */
import type { Client } from 'pg';
import { type Arena, session, sql, until } from './arena.ts';
import { type Expectation, type Fault, unnoticed } from './fault.ts';
import { command } from './repair.ts';

/** Changes that stay in this data center, as if they had come from elsewhere; triggers do not fire. */
async function unseen(arena: Arena, dataCenter: string, text: string): Promise<void> {
  await sql(
    arena,
    dataCenter,
    `SELECT pg_catalog.pg_replication_origin_create('lanekeeper_drill')
      WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_origin WHERE roname = 'lanekeeper_drill')`,
  );
  const client = await session(arena, dataCenter, 'superuser');
  await client.query("SELECT pg_catalog.pg_replication_origin_session_setup('lanekeeper_drill')");
  await client.query("SET session_replication_role = 'replica'");
  await client.query(text);
  await client.query('SELECT pg_catalog.pg_replication_origin_session_reset()');
}

/** As an administrator would who knows how to get past the fence: it travels. */
function unfenced(arena: Arena, dataCenter: string, text: string): Promise<unknown> {
  return sql(arena, dataCenter, `SET session_replication_role = 'replica'; ${text}`);
}

const poisonEmail = 'poison@drill.example';
const account = (dataCenter: string): string => `${dataCenter}_acc_drill_poison`;

async function poison(arena: Arena): Promise<void> {
  const insert = (dataCenter: string): string =>
    `INSERT INTO public.accounts (id, email, password_hash) VALUES ('${account(dataCenter)}', '${poisonEmail}', 'x')`;
  await unseen(arena, arena.other, insert(arena.other));
  await unfenced(arena, arena.at, insert(arena.at));
  arena.note(`the stream to ${arena.other} cannot be applied any more`);
}

const streamStuck: Expectation = {
  text: 'the stream stops and says so; customers go on in both data centers; after healing everything arrives',
  writesAgainMs: 8_000,
  after: 'fault',
  othersPauseMs: 4_000,
};

/** Whether a subscription of `dataCenter` cannot apply something. */
async function isStuck(arena: Arena, dataCenter: string): Promise<boolean> {
  const [row] = await sql<{ stuck: boolean }>(
    arena,
    dataCenter,
    'SELECT coalesce(bool_or(apply_error_count > 0), false) AS stuck FROM pg_catalog.pg_stat_subscription_stats',
  );
  return row?.stuck === true;
}

async function statusComplains(arena: Arena): Promise<readonly string[]> {
  const said = await until(arena, 6_000, async () => (await arena.problems()).length > 0);
  return said ? [] : ['`lanekeeper status` found nothing to complain about while the fault lasted'];
}

/** What each drill found while the fault lasted, for `inspect`. */
const findings = new WeakMap<Arena, string[]>();

function find(arena: Arena, ...what: readonly string[]): void {
  findings.set(arena, [...(findings.get(arena) ?? []), ...what]);
}

const inspect = async (arena: Arena): Promise<readonly string[]> => findings.get(arena) ?? [];

/** The last thing an operator does about conflicts: until a clean `verify` nobody counts on what arrived. */
async function inspectAndVerify(arena: Arena): Promise<readonly string[]> {
  // PostgreSQL tells its counters up to a second late, and those of a worker that waits later than that.
  await arena.pause(2_000);
  await command(arena, 'verify', '--json');
  return inspect(arena);
}

export const dataFaults: readonly Fault[] = [
  {
    name: 'unique-poison',
    group: 'data',
    description: 'one e-mail address stands in both data centers, past claims and fence: its stream cannot be applied',
    holdMs: 8_000,
    expectation: streamStuck,
    async inject(arena) {
      await poison(arena);
      find(arena, ...(await statusComplains(arena)));
    },
    async heal(arena) {
      await unseen(arena, arena.other, `DELETE FROM public.accounts WHERE id = '${account(arena.other)}'`);
      // Both are gone in the end: the one that travelled is deleted where it came from, when it has arrived.
      await until(arena, 20_000, async () => {
        const rows = await sql(arena, arena.other, `SELECT FROM public.accounts WHERE id = '${account(arena.at)}'`);
        return rows.length > 0;
      });
      await unfenced(arena, arena.at, `DELETE FROM public.accounts WHERE id = '${account(arena.at)}'`);
    },
    inspect: inspectAndVerify,
  },
  {
    name: 'transaction-skipped',
    group: 'data',
    description: 'a stream cannot be applied, and an operator lets it SKIP the transaction',
    holdMs: 6_000,
    expectation: { ...streamStuck, text: 'what was skipped is found and repaired, not forgotten' },
    async inject(arena) {
      await poison(arena);
      await until(arena, 10_000, () => isStuck(arena, arena.other));
      const skipped = await until(arena, 10_000, async () => {
        const [row] = await sql<{ lsn: string | null }>(
          arena,
          arena.other,
          `SELECT (regexp_matches(pg_read_file(current_setting('data_directory') || '/../postgresql.log'),
             'finished at ([0-9A-F]+/[0-9A-F]+)', 'g'))[1] AS lsn ORDER BY 1 DESC LIMIT 1`,
        );
        if (!row?.lsn) return false;
        const name = `lanekeeper_${arena.at}_homed`;
        await sql(arena, arena.other, `ALTER SUBSCRIPTION ${name} SKIP (lsn = '${row.lsn}')`);
        arena.note(`${name} skips the transaction that ends at ${row.lsn}`);
        return true;
      });
      if (!skipped) throw new Error('PostgreSQL did not write where the transaction ends that it cannot apply');
    },
    async heal(arena) {
      find(arena, ...(await statusComplains(arena)));
      await unseen(arena, arena.other, `DELETE FROM public.accounts WHERE id = '${account(arena.other)}'`);
      await unseen(arena, arena.at, `DELETE FROM public.accounts WHERE id = '${account(arena.at)}'`);
    },
    inspect: inspectAndVerify,
  },
  {
    name: 'row-absent',
    group: 'data',
    description: 'rows that customers change at home are missing in the other data center',
    holdMs: 8_000,
    expectation: {
      ...unnoticed('customers notice nothing; the missing rows are counted and told; `verify --repair` brings them'),
    },
    async inject(arena) {
      const accounts = arena.load.customers.filter(({ home }) => home === arena.at).map((customer) => customer.account);
      const list = accounts.map((one) => `'${one}'`).join(', ');
      await unseen(
        arena,
        arena.other,
        `DELETE FROM public.cart_lines WHERE cart_id IN (SELECT id FROM public.carts WHERE account_id IN (${list}));
         DELETE FROM public.carts WHERE account_id IN (${list})`,
      );
      find(arena, ...(await statusComplains(arena)));
    },
    heal: (arena) => command(arena, 'verify', '--repair', '--json'),
    inspect: inspectAndVerify,
  },
  {
    name: 'table-left-out',
    group: 'data',
    description: 'a table falls out of the publication: PostgreSQL drops its rows without a word',
    holdMs: 8_000,
    expectation: {
      ...unnoticed('customers notice nothing; status says it and moves stop; after healing the rows are repaired'),
    },
    async inject(arena) {
      arena.undo(async () => {
        const rows = await sql(
          arena,
          arena.at,
          "SELECT FROM pg_catalog.pg_publication_tables WHERE pubname = 'lanekeeper_homed' AND tablename = 'order_lines'",
        );
        if (rows.length === 0)
          await sql(arena, arena.at, 'ALTER PUBLICATION lanekeeper_homed ADD TABLE public.order_lines');
      });
      await sql(arena, arena.at, 'ALTER PUBLICATION lanekeeper_homed DROP TABLE public.order_lines');
      find(arena, ...(await statusComplains(arena)));
    },
    async heal(arena) {
      await sql(arena, arena.at, 'ALTER PUBLICATION lanekeeper_homed ADD TABLE public.order_lines');
      await command(arena, 'verify', '--repair', '--json');
    },
    inspect: inspectAndVerify,
  },
  {
    name: 'column-missing',
    group: 'data',
    description: 'a migration has added a column in one data center and not in the other: the stream stops',
    holdMs: 8_000,
    expectation: streamStuck,
    async inject(arena) {
      arena.undo(async () => {
        for (const dc of [arena.at, arena.other]) {
          await sql(arena, dc, 'ALTER TABLE public.orders DROP COLUMN IF EXISTS drilled');
          await command(arena, 'apply', '--now', '--dc', dc, '--json');
        }
      });
      await sql(arena, arena.at, "ALTER TABLE public.orders ADD COLUMN drilled text DEFAULT 'new'");
      find(arena, ...(await statusComplains(arena)));
    },
    async heal(arena) {
      await sql(arena, arena.other, "ALTER TABLE public.orders ADD COLUMN IF NOT EXISTS drilled text DEFAULT 'new'");
      // Customers go on: it leaves the streams first, and the tables when everything that was written with it has been applied.
      await command(arena, 'migrate', 'leave-out', 'orders', 'drilled', '--wait', '60s', '--json');
    },
    inspect,
  },
  {
    name: 'truncate',
    group: 'data',
    description: 'the owner of the tables, and a superuser, try TRUNCATE',
    holdMs: 2_000,
    expectation: unnoticed('it is refused, and nobody notices'),
    async inject(arena) {
      for (const role of ['owner', 'superuser'] as const) {
        const url = arena.lab.dataCenters[arena.at]?.databases[role] ?? '';
        const told = await arena.ask(url, 'TRUNCATE public.order_lines').then(
          () => 'done',
          (error: { code?: string }) => error.code ?? 'no code',
        );
        if (told !== 'LK006') find(arena, `TRUNCATE by the ${role} ended with ${told}, not with LK006`);
      }
    },
    inspect,
  },
  {
    name: 'huge-transaction',
    group: 'data',
    description: 'one transaction writes 20,000 rows of one account',
    holdMs: 6_000,
    expectation: {
      text: 'it passes the fence and arrives; other customers wait for nothing but the machine',
      writesAgainMs: 8_000,
      after: 'fault',
      othersPauseMs: 5_000,
    },
    async inject(arena) {
      const id = `${arena.at}_acc_drill_${Math.floor(arena.random() * 1e9).toString(36)}`;
      const client = await session(arena, arena.at, 'application');
      await client.query('BEGIN');
      await client.query('INSERT INTO public.accounts (id) VALUES ($1)', [id]);
      await client.query(
        "INSERT INTO public.orders (id, account_id, total, placed_in, note) SELECT $1 || '_' || n, $1, 0, $2, 'bulk ' || n FROM generate_series(1, 20000) n",
        [id, arena.at],
      );
      await client.query('COMMIT');
      arena.note('20,000 rows are committed');
    },
  },
  {
    name: 'lock-against-apply',
    group: 'data',
    description: 'a session in the other data center holds locks on rows that the stream wants to change',
    holdMs: 8_000,
    expectation: {
      text: 'the stream waits for as long as the lock is held; customers go on in both data centers',
      writesAgainMs: 8_000,
      after: 'fault',
      othersPauseMs: 5_000,
    },
    async inject(arena) {
      const client: Client = await session(arena, arena.other, 'superuser');
      const accounts = arena.load.customers.filter(({ home }) => home === arena.at).map((customer) => customer.account);
      await client.query('BEGIN');
      const { rowCount } = await client.query('SELECT FROM public.carts WHERE account_id = ANY ($1) FOR UPDATE', [
        accounts,
      ]);
      arena.note(`${rowCount} rows are locked`);
    },
  },
];
