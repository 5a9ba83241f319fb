/**
 * Schedules of shared rows on real data centers and on the model at once (`test/sim/merge`). Each lane is a table with a
 * schedule of its own; the streams are opened one at a time and for all of them, so that both see everything in one order.
 */
import { Client } from 'pg';
import { type MergePolicy, type Shape, type Stamp, shapeText } from '../sim/merge/rules.ts';
import type { Step } from '../sim/merge/schedule.ts';
import { keys, scheduleOf } from '../sim/merge/schedule.ts';
import { World } from '../sim/merge/world.ts';
import { seeded } from '../sim/timeline.ts';
import type { Trio } from './trio.ts';

export type Lane = {
  readonly table: string;
  readonly policy: MergePolicy;
  readonly shapes: readonly Shape[];
  readonly world: World;
  /** What happens in it between two openings of a stream. */
  readonly steps: readonly Step[];
};

type Held = { readonly client: Client; readonly lane: Lane; readonly dc: number; readonly key: number };

export type Difference = {
  readonly lane: string;
  readonly what: string;
  readonly model: unknown;
  readonly real: unknown;
};

const stepsPerPhase = 3;
const localSteps = new Set<Step['do']>(['write', 'begin', 'end', 'roll']);

/** `shapeOf`: what the configuration of the data centers says of a policy. */
export function lanesOf(
  seed: number,
  tables: Readonly<Record<string, MergePolicy>>,
  dcs: 2 | 3,
  phases: number,
  shapeOf: (policy: MergePolicy) => Shape,
): readonly Lane[] {
  return Object.entries(tables).map(([table, policy], index) => {
    const drawn = scheduleOf(1000 * seed + index, { policy, dcs, steps: 12 * phases * stepsPerPhase, clocks: false });
    const shapes = [shapeOf(policy), ...drawn.shapes.slice(1)];
    const steps = drawn.steps.filter((step) => localSteps.has(step.do)).slice(0, phases * stepsPerPhase);
    return { table, policy, shapes, steps, world: new World({ seed, policy, dcs, shapes, steps }) };
  });
}

export class RealLanes {
  readonly #trio: Trio;
  readonly #clients: readonly Client[];
  readonly #held: Held[] = [];
  readonly written = { writes: 0, held: 0, pending: 0, conflicts: 0, eras: 0 };
  readonly differences: Difference[] = [];

  private constructor(trio: Trio, clients: readonly Client[]) {
    this.#trio = trio;
    this.#clients = clients;
  }

  static async open(trio: Trio): Promise<RealLanes> {
    const clients = await Promise.all(trio.names.map((name) => connect(trio.dc(name).urls.superuser)));
    const lanes = new RealLanes(trio, clients);
    for (const from of lanes.#numbers())
      for (const to of lanes.#numbers()) if (from !== to) await lanes.#close(from, to);
    return lanes;
  }

  /** In phases: some steps of each lane, then some streams are opened in turn, for all. Then everything arrives everywhere. */
  async run(seed: number, lanes: readonly Lane[], phases: number): Promise<void> {
    const random = seeded(seed);
    const numbers = this.#numbers();
    for (let phase = 0; phase < phases; phase++) {
      for (const lane of lanes)
        for (const step of lane.steps.slice(phase * stepsPerPhase, (phase + 1) * stepsPerPhase))
          await this.#step(lane, step);
      const from = random.pick(numbers);
      const to = random.pick(numbers.filter((one) => one !== from));
      await this.#deliver(lanes, from, to);
      if (random.chance(0.3)) await this.#finish(lanes, random.pick(numbers));
    }
    await this.#settle(lanes);
  }

  /** One lane alone, step by step, streams included; then everything arrives everywhere. */
  async play(lane: Lane): Promise<void> {
    for (const step of lane.steps) {
      if (step.do === 'deliver') await this.#deliver([lane], step.from, step.to);
      else if (step.do === 'finish') await this.#finish([lane], step.dc);
      else await this.#step(lane, step);
    }
    await this.#settle([lane]);
  }

  async #settle(lanes: readonly Lane[]): Promise<void> {
    const numbers = this.#numbers();
    for (const held of [...this.#held].sort((a, b) => a.dc - b.dc))
      await this.#end(held.lane, { do: 'end', dc: held.dc, key: held.key, commits: true });
    for (const from of numbers) for (const to of numbers) if (from !== to) await this.#deliver(lanes, from, to);
    for (const dc of numbers) await this.#finish(lanes, dc);
    for (const lane of lanes) lane.world.heal();
  }

  /** Rows, stamps and conflicts of every data center, against the model's. */
  async compare(lanes: readonly Lane[]): Promise<void> {
    for (const lane of lanes)
      for (const dc of this.#numbers()) {
        const model = lane.world.dc(dc);
        const versions = await this.#rows<{ key: string; stamp: string[]; value: number | null }>(
          dc,
          `SELECT v.key[1] AS key, v.stamp, t.value FROM lanekeeper.version v LEFT JOIN ${lane.table} t ON t.id::text = v.key[1]
            WHERE v.relation = $1 ORDER BY v.key`,
          [`public.${lane.table}`],
        );
        const real = versions.map(({ key, stamp, value }) => [Number(key), value, stamp.map(Number)]);
        const expected = [...model.versions]
          .sort(([a], [b]) => a - b)
          .map(([key, { value, stamp }]) => [key, value, stamp]);
        this.#same(lane, `rows and stamps in dc ${dc}`, expected, real);
        const rows = await this.#rows<{ id: number }>(dc, `SELECT id FROM ${lane.table} ORDER BY id`);
        const there = keys.filter((key) => model.value(key) !== null);
        this.#same(
          lane,
          `keys in dc ${dc}`,
          there,
          rows.map(({ id }) => id),
        );
        const conflicts = await this.#rows<{ pair: string }>(
          dc,
          `SELECT winner_stamp::text || ' over ' || loser_stamp::text AS pair FROM lanekeeper.conflict WHERE relation = $1`,
          [`public.${lane.table}`],
        );
        const pairs = model.conflicts.map(({ winner, loser }) => `${text(winner.stamp)} over ${text(loser.stamp)}`);
        this.#same(lane, `conflicts in dc ${dc}`, pairs.sort(), conflicts.map(({ pair }) => pair).sort());
        this.written.conflicts += conflicts.length;
      }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients, ...this.#held.map(({ client }) => client)].map((client) => client.end()));
  }

  #numbers(): readonly number[] {
    return this.#clients.map((_, index) => index + 1);
  }

  #client(dc: number): Client {
    return this.#clients[dc - 1] as Client;
  }

  async #rows<R extends object>(dc: number, sql: string, values: unknown[] = []): Promise<R[]> {
    return (await this.#client(dc).query<R>(sql, values)).rows;
  }

  #same(lane: Lane, what: string, model: unknown, real: unknown): void {
    if (JSON.stringify(model) !== JSON.stringify(real))
      this.differences.push({ lane: `${lane.table} (${lane.policy})`, what, model, real });
  }

  async #step(lane: Lane, step: Step): Promise<void> {
    if (step.do === 'end') return this.#end(lane, step);
    if (step.do === 'roll') {
      if (lane.world.step(step) !== true) return;
      const { layout } = lane.world.dc(step.dc);
      const [row] = await this.#rows<{ era: string }>(step.dc, 'SELECT lanekeeper.declare_layout($1, $2) AS era', [
        `public.${lane.table}`,
        shapeText(lane.policy, layout),
      ]);
      this.written.eras++;
      return this.#same(lane, `era in dc ${step.dc}`, layout.era, Number(row?.era));
    }
    if (step.do !== 'write' && step.do !== 'begin') return;
    if (lane.world.dc(step.dc).held.has(step.key)) return;
    const holds = step.do === 'begin';
    const client = holds
      ? await connect(this.#trio.superusers[this.#trio.names[step.dc - 1] ?? ''] ?? '')
      : this.#client(step.dc);
    const value = lane.world.nextWrite;
    await client.query('BEGIN');
    await client.query(`SELECT set_config('lanekeeper.application', $1, true)`, [
      step.application === 0 ? '' : `a${step.application}`,
    ]);
    const { rowCount } = await client.query(
      statementOf(lane.table, step.operation),
      step.operation === 'delete' ? [step.key] : [step.key, value],
    );
    const { rows } = await client.query<{ stamp: string[] }>(
      'SELECT stamp FROM lanekeeper.version WHERE relation = $1 AND key = ARRAY[$2::text]',
      [`public.${lane.table}`, step.key],
    );
    const stamp = rows[0]?.stamp.map(Number) ?? null;
    if (!holds || rowCount === 0) await client.query('COMMIT');
    // The clock is the server's: the model is told what it said.
    const written = lane.world.step(step, lane.policy === 'timestamp-weight' ? (stamp?.[1] ?? 0) : 0);
    const model =
      typeof written === 'object' && written !== null && written.kind === 'written' ? written.version.stamp : null;
    this.#same(lane, `${step.operation} of ${step.key} in dc ${step.dc}`, model, rowCount === 0 ? null : stamp);
    if (rowCount !== 0) this.written.writes++;
    if (!holds) return;
    if (rowCount === 0) return void (await client.end());
    this.written.held++;
    this.#held.push({ client, lane, dc: step.dc, key: step.key });
  }

  async #end(lane: Lane, step: Step & { readonly do: 'end' }): Promise<void> {
    const at = this.#held.findIndex((one) => one.lane === lane && one.dc === step.dc && one.key === step.key);
    const [held] = at < 0 ? [] : this.#held.splice(at, 1);
    if (held === undefined) return;
    await held.client.query(step.commits ? 'COMMIT' : 'ROLLBACK');
    await held.client.end();
    lane.world.step(step);
  }

  async #deliver(lanes: readonly Lane[], from: number, to: number): Promise<void> {
    const [mark] = await this.#rows<{ lsn: string }>(
      from,
      `SELECT pg_logical_emit_message(true, 'test', 'mark')::text AS lsn`,
    );
    const publisher = this.#trio.names[from - 1];
    const subscriber = this.#trio.names[to - 1];
    await this.#client(to).query(`ALTER SUBSCRIPTION lanekeeper_${publisher}_rest ENABLE`);
    await until(`${to} has read what ${from} wrote`, async () => {
      const [row] = await this.#rows<{ read: boolean }>(
        from,
        'SELECT confirmed_flush_lsn >= $1::pg_lsn AS read FROM pg_replication_slots WHERE slot_name = $2',
        [mark?.lsn, `lanekeeper_${subscriber}_rest`],
      );
      return row?.read === true;
    });
    await this.#close(from, to);
    for (const { world } of lanes) world.step({ do: 'deliver', from, to, count: Number.POSITIVE_INFINITY });
    const [row] = await this.#rows<{ n: number }>(to, 'SELECT count(*)::int AS n FROM lanekeeper.merge_pending');
    this.written.pending += row?.n ?? 0;
  }

  async #close(from: number, to: number): Promise<void> {
    const name = `lanekeeper_${this.#trio.names[from - 1]}_rest`;
    await this.#client(to).query(`ALTER SUBSCRIPTION ${name} DISABLE`);
    await until('its worker has ended', async () => {
      const [row] = await this.#rows<{ pid: number | null }>(
        to,
        'SELECT pid FROM pg_stat_subscription WHERE subname = $1',
        [name],
      );
      return row?.pid == null;
    });
  }

  async #finish(lanes: readonly Lane[], dc: number): Promise<void> {
    await this.#client(dc).query('SET session_replication_role = replica');
    await this.#client(dc).query('SELECT lanekeeper.finish_pending()');
    await this.#client(dc).query('SET session_replication_role = origin');
    for (const { world } of lanes) world.step({ do: 'finish', dc });
  }
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}

function statementOf(table: string, operation: 'insert' | 'update' | 'delete' | 'upsert'): string {
  switch (operation) {
    case 'insert':
      return `INSERT INTO ${table} VALUES ($1, $2) ON CONFLICT DO NOTHING`;
    case 'update':
      return `UPDATE ${table} SET value = $2 WHERE id = $1`;
    case 'delete':
      return `DELETE FROM ${table} WHERE id = $1`;
    case 'upsert':
      return `INSERT INTO ${table} VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = excluded.value`;
  }
}

function text(stamp: Stamp): string {
  return `{${stamp.join(',')}}`;
}

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!(await look())) {
    if (performance.now() > endMs) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
