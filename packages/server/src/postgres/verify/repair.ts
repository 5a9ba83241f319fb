/**
 * Puts right what `verify` found: each row is sent again by the data center that is its home, in the stream, as it is at
 * that moment. Where nobody can say whose word counts, nothing is done and the reason is given.
 *
 * 1. The word of an account's home counts, and both data centers must name the same one. Rows of Lanekeeper's own come
 *    first, since they decide that.
 * 2. Of two deeds that with the higher epoch counts (E1).
 * 3. Of two shared rows that are merged, that with the larger stamp counts, and is announced again.
 * 4. What else is not homed is not repaired: it does not travel in this stream.
 */
import type { Configuration, TableName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Connect, Unavailable } from '../connect.ts';
import { waitUntilConfirmed } from '../deeds/successions.ts';
import { isMerged } from '../merge/index.ts';
import { resendRow } from '../stranded/resend.ts';
import { streamOf } from '../streams/names.ts';
import type { Difference } from './verify.ts';

export type RepairStep = {
  readonly difference: Difference;
  readonly outcome: /** Or would be, with `dryRun`. */
  { readonly kind: 'sent'; readonly from: DataCenterName } | { readonly kind: 'refused'; readonly why: string };
};

export type RepairFailure = {
  readonly dataCenter: DataCenterName;
  readonly relation: TableName;
  readonly key: readonly string[];
  readonly message: string;
};

export type RepairResult =
  | {
      readonly kind: 'repaired';
      readonly steps: readonly RepairStep[];
      /** Sent, and not put in place over there, e.g. because of a unique key. */
      readonly failures: readonly RepairFailure[];
      /** Not everything that was sent has been applied in time. */
      readonly late: boolean;
    }
  | (Unavailable & { readonly dataCenter: DataCenterName });

export type RepairOptions = {
  readonly configuration: Configuration;
  readonly here: DataCenterName;
  readonly there: DataCenterName;
  /** As the agent. */
  readonly connect: (dc: DataCenterName) => Connect;
  /** In the order in which `verifyTables` gives them. */
  readonly differences: readonly Difference[];
  readonly dryRun: boolean;
  /** How long the streams get to bring what was sent. Default 30000. */
  readonly settleMs?: number;
};

export async function repairDifferences(options: RepairOptions): Promise<RepairResult> {
  const clients = new Map<DataCenterName, Client>();
  try {
    for (const dc of [options.here, options.there]) {
      const connected = await options.connect(dc)('lanekeeper verify');
      if (connected.kind === 'unavailable') return { ...connected, dataCenter: dc };
      clients.set(dc, connected.client);
    }
    return await new Repair(options, clients).run();
  } finally {
    await Promise.all([...clients.values()].map((client) => client.end()));
  }
}

type Place = { readonly relation: TableName; readonly columns: readonly string[]; readonly values: readonly string[] };

/** What one data center knows of a row. */
type Known = {
  readonly there: boolean;
  /** The account whose deed guards it. */
  readonly guardian: string | null;
  /** Where that account is written, as this data center sees it. */
  readonly home: DataCenterName | null;
  readonly values: ReadonlyMap<string, string | null>;
};

type Direction = { readonly from: DataCenterName; readonly account?: string | null } | { readonly why: string };

class Repair {
  readonly #options: RepairOptions;
  readonly #clients: ReadonlyMap<DataCenterName, Client>;
  readonly #senders = new Set<DataCenterName>();
  /** Of shared rows. */
  readonly #announcers = new Set<DataCenterName>();
  #late = false;

  constructor(options: RepairOptions, clients: ReadonlyMap<DataCenterName, Client>) {
    this.#options = options;
    this.#clients = clients;
  }

  async run(): Promise<RepairResult> {
    const { differences, dryRun, here, there } = this.#options;
    const since = new Map<DataCenterName, string>();
    for (const dc of [here, there]) since.set(dc, await this.#lastIncident(dc));
    const own = differences.filter(({ table }) => table.startsWith('lanekeeper.'));
    const steps: RepairStep[] = [];
    for (const difference of own) steps.push(await this.#repair(difference));
    // Deeds decide the rest, so they have to be equal first.
    if (!dryRun) await this.#settle();
    for (const difference of differences) if (!own.includes(difference)) steps.push(await this.#repair(difference));
    if (!dryRun) await this.#settle();
    const failures: RepairFailure[] = [];
    for (const dc of [here, there]) failures.push(...(await this.#failures(dc, since.get(dc) ?? '0')));
    return { kind: 'repaired', steps, failures, late: this.#late };
  }

  async #repair(difference: Difference): Promise<RepairStep> {
    const place = {
      relation: difference.table,
      columns: Object.keys(difference.key),
      values: Object.values(difference.key),
    };
    if (isMerged(this.#options.configuration.tables[place.relation])) return this.#announce(difference, place);
    const direction = await this.#direction(place);
    if ('why' in direction) return { difference, outcome: { kind: 'refused', why: direction.why } };
    const { from } = direction;
    if (this.#options.dryRun) return { difference, outcome: { kind: 'sent', from } };
    const outcome = await resendRow(this.#client(from), place.relation, place, direction.account ?? null);
    if (outcome === 'sent' || outcome === 'absent') {
      this.#senders.add(from);
      return { difference, outcome: { kind: 'sent', from } };
    }
    const why = {
      elsewhere: 'its account has just moved: compare again',
      'unknown-account': `${from} cannot say whose row it is`,
      'no-such-table': `there is no such table in ${from}`,
      busy: `the row is locked in ${from} all the time`,
    }[outcome];
    return { difference, outcome: { kind: 'refused', why } };
  }

  async #announce(difference: Difference, { relation, values }: Place): Promise<RepairStep> {
    const { here, there, configuration, dryRun } = this.#options;
    const refused = (why: string): RepairStep => ({ difference, outcome: { kind: 'refused', why } });
    if (configuration.tables[relation]?.policy === 'last-man-standing')
      return refused('last-man-standing leaves data centers different, and the configuration allows it');
    const [ours, theirs] = [await this.#stamp(here, relation, values), await this.#stamp(there, relation, values)];
    const order = compareStamps(ours, theirs);
    if (order === 0)
      return refused(
        'both have it from the same write, so that somebody changed it past Lanekeeper: write it once more',
      );
    const from = order > 0 ? here : there;
    if (!dryRun) {
      await this.#client(from).query('SELECT lanekeeper.announce($1, NULL, $2::text[])', [relation, values]);
      this.#announcers.add(from);
    }
    return { difference, outcome: { kind: 'sent', from } };
  }

  async #stamp(dc: DataCenterName, relation: TableName, key: readonly string[]): Promise<readonly bigint[]> {
    const { rows } = await this.#client(dc).query<{ stamp: string[] }>(
      'SELECT stamp::text[] AS stamp FROM lanekeeper.version WHERE relation = $1 AND key = $2::text[]',
      [relation, key],
    );
    return (rows[0]?.stamp ?? []).map(BigInt);
  }

  async #direction(place: Place): Promise<Direction> {
    const { configuration, here, there } = this.#options;
    if (place.relation === 'lanekeeper.repair') return { why: 'it is empty as soon as nothing is being repaired' };
    if (!place.relation.startsWith('lanekeeper.')) {
      if (streamOf(configuration, place.relation, here) !== 'homed') return { why: sharedWhy(configuration, place) };
    }
    const [ours, theirs] = [await this.#read(here, place), await this.#read(there, place)];
    switch (place.relation) {
      case 'lanekeeper.deed':
        return this.#deedDirection(ours, theirs);
      case 'lanekeeper.succession':
        if (ours.there !== theirs.there) return { from: ours.there ? here : there };
        return { why: 'the history of views is what the lease store says: the agent writes it' };
      case 'lanekeeper.subscribed':
        return { from: place.values[place.columns.indexOf('subscriber')] === here ? here : there };
      case 'lanekeeper.homed_as':
        return { from: place.values[place.columns.indexOf('dc')] === here ? here : there };
      case 'lanekeeper.stranded':
        return this.#ledgerDirection(ours, theirs);
    }
    return this.#homeDirection(ours, theirs);
  }

  #homeDirection(ours: Known, theirs: Known): Direction {
    const { here, there } = this.#options;
    const named = [ours, theirs].filter((side) => side.there);
    if (named.some((side) => side.guardian === null)) {
      return { why: 'whose row it is cannot be found out: the row that leads to its account is missing' };
    }
    const homes = new Set(named.map((side) => side.home));
    const [home] = homes;
    if (homes.size > 1) return { why: `${here} and ${there} do not agree on where its account is written` };
    if (home === null || home === undefined) return { why: 'its account has no deed' };
    if (home !== here && home !== there) return { why: `its account is written in ${home}: compare with that` };
    return { from: home, account: named[0]?.guardian ?? null };
  }

  #deedDirection(ours: Known, theirs: Known): Direction {
    const { here, there } = this.#options;
    if (!ours.there || !theirs.there) return { from: ours.there ? here : there };
    const [a, b] = [epochOf(ours), epochOf(theirs)];
    if (a[0] !== b[0] || a[1] !== b[1]) return { from: a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]) ? here : there };
    if (ours.values.get('home') !== theirs.values.get('home')) {
      return { why: 'two homes for one epoch: who wrote the account has to be found out first' };
    }
    return this.#homeDirection(ours, theirs);
  }

  /** Decisions are taken at the account's home, or where nobody's row was written down. */
  #ledgerDirection(ours: Known, theirs: Known): Direction {
    const { here, there } = this.#options;
    if (ours.there !== theirs.there) return { from: ours.there ? here : there };
    const decided = (side: Known) => side.values.get('decided_in') ?? null;
    const recorded = ours.values.get('recorded_in') ?? here;
    const from = decided(ours) ?? decided(theirs) ?? recorded;
    return from === here || from === there ? { from } : { why: `it was decided in ${from}: compare with that` };
  }

  async #read(dc: DataCenterName, place: Place): Promise<Known> {
    const { rows } = await this.#client(dc).query<{
      columns: string[] | null;
      vals: (string | null)[] | null;
      guardian: string | null;
      home: string | null;
    }>(
      `SELECT r.columns, r.vals, g.guardian, (SELECT w.home FROM lanekeeper.where_is(g.guardian) w) AS home
        FROM lanekeeper.read_row($1, $2, $3, false) r,
          LATERAL (SELECT CASE WHEN r.columns IS NOT NULL THEN lanekeeper.guardian($1, r.columns, r.vals) END AS guardian) g`,
      [place.relation, place.columns, place.values],
    );
    const row = rows[0];
    const columns = row?.columns ?? [];
    return {
      there: columns.length > 0,
      guardian: row?.guardian ?? null,
      home: row?.home ?? null,
      values: new Map(columns.map((name, i) => [name, row?.vals?.[i] ?? null])),
    };
  }

  /** Until what was sent has been applied. */
  async #settle(): Promise<void> {
    const { here, there, settleMs = 30_000 } = this.#options;
    const sent = [
      ...[...this.#senders].map((from) => [from, 'homed'] as const),
      ...[...this.#announcers].map((from) => [from, 'rest'] as const),
    ];
    for (const [from, stream] of sent) {
      const to = from === here ? there : here;
      const client = this.#client(from);
      const { rows } = await client.query<{ lsn: string }>(
        "SELECT pg_logical_emit_message(true, 'lanekeeper', 'repaired')::text AS lsn",
      );
      if (!(await waitUntilConfirmed(client, to, stream, rows[0]?.lsn ?? '0/0', settleMs))) this.#late = true;
    }
    this.#senders.clear();
    this.#announcers.clear();
  }

  async #lastIncident(dc: DataCenterName): Promise<string> {
    const { rows } = await this.#client(dc).query<{ id: string }>(
      'SELECT coalesce(max(id), 0)::text AS id FROM lanekeeper.incident',
    );
    return rows[0]?.id ?? '0';
  }

  async #failures(dc: DataCenterName, since: string): Promise<readonly RepairFailure[]> {
    const { rows } = await this.#client(dc).query<{ detail: { relation: string; key: string[]; message: string } }>(
      "SELECT detail FROM lanekeeper.incident WHERE kind = 'repair-failed' AND id > $1 ORDER BY id",
      [since],
    );
    return rows.map(({ detail }) => ({ dataCenter: dc, ...detail }));
  }

  #client(dc: DataCenterName): Client {
    return this.#clients.get(dc) as Client;
  }
}

/** As PostgreSQL compares arrays; no stamp is the smallest. */
function compareStamps(a: readonly bigint[], b: readonly bigint[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const [x, y] = [a[i] ?? -1n, b[i] ?? -1n];
    if (x !== y) return x > y ? 1 : -1;
  }
  return 0;
}

function epochOf({ values }: Known): readonly [bigint, bigint] {
  return [BigInt(values.get('term') ?? 0), BigInt(values.get('counter') ?? 0)];
}

function sharedWhy(configuration: Configuration, { relation }: Place): string {
  const { feeder, writes = 'replicated' } = configuration.tables[relation] ?? {};
  if (writes !== 'replicated')
    return `${relation} is written in every data center: put the row once more, or see \`lanekeeper buffer poison\``;
  if (!feeder) return `${relation} belongs to no account, so no data center's row is the right one`;
  return `${relation} belongs to no account; it is published by ${feeder}: write the row there once more`;
}
