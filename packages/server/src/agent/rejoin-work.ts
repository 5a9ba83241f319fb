/** What the stages of coming back work with: who is there, who is away, and where the logs of those who were taken over end. */
import type { Configuration, RoleName } from 'lanekeeper/config';
import { comparePositions, type DataCenterName, type LeaseStore } from 'lanekeeper/model';
import type { Client } from 'pg';
import type { Action, OwnershipEvent, RejoinStage } from '../ownership/index.ts';
import {
  type Connect,
  type Queryable,
  type RecordedCut,
  type RecordedSuccession,
  readSuccessions,
  type StrandedOrigin,
} from '../postgres/index.ts';
import type { LocalDatabase } from './database.ts';
import type { Log } from './options.ts';

export type RejoinAction = Extract<Action, { kind: 'rejoin' }>;
type Mend = Extract<Action, { kind: 'mend' }>;
type Mended = Extract<OwnershipEvent, { kind: 'mended' }>['result'];

export type RejoinOptions = {
  readonly configuration: Configuration;
  readonly database: LocalDatabase;
  readonly store: LeaseStore;
  /** Connections to any data center's database, this one's included. */
  readonly connect: (dc: DataCenterName, role: RoleName) => Connect;
  /** Our subscriptions by the peer they read from. */
  readonly subscriptions: Readonly<Record<DataCenterName, readonly string[]>>;
  /** Fetches what another data center has of a log, and this one has not. */
  readonly mend: (request: Omit<Mend, 'kind' | 'round'>) => Promise<Mended>;
  readonly log: Log;
};

/** Expected, and for a person: the stage waits, and is tried again. */
export class NotYet extends Error {}

export type Peer = { readonly name: DataCenterName /** As its agent. */; readonly client: Client };

/** What one stage works with. */
export type Work = {
  readonly options: RejoinOptions;
  readonly action: RejoinAction;
  readonly here: DataCenterName;
  /** Here, as the agent, to itself. */
  readonly own: Client;
  /** At the successor: where the ledger is written. */
  readonly home: Client;
  /** The living: the successor first. */
  readonly peers: readonly [Peer, ...Peer[]];
  /** Taken over like this one, and not back. */
  readonly away: readonly DataCenterName[];
  /** Of those, whose takeover the successor has not written down yet: where their logs end is not known. */
  readonly unrecorded: readonly DataCenterName[];
  /** That of the lease store, when all this was read. */
  readonly view: number;
  /** Whether that has let this one in already. */
  readonly isBack: boolean;
  /** Where our log ends for all others. */
  readonly cut: RecordedCut;
  readonly origin: StrandedOrigin;
  /** Others of whose logs something may be here that nobody alive has, or the other way round. */
  readonly others: readonly CutOff[];
  /** What was remembered of the stages before. */
  readonly detail: Readonly<Record<string, unknown>>;
};

/** A data center that was away at some time since this one is, by the generations in which it was. */
export type CutOff = {
  readonly name: DataCenterName;
  readonly isAway: boolean;
  readonly lives: readonly [CutOffLife, ...CutOffLife[]];
};
export type CutOffLife = { readonly origin: StrandedOrigin; readonly cut: RecordedCut };

export type StageRow = {
  readonly stage: RejoinStage;
  readonly generation: number;
  readonly detail: Readonly<Record<string, unknown>>;
};

export async function readStage(
  client: Queryable,
  term: number,
  lock: '' | 'FOR SHARE' = '',
): Promise<StageRow | null> {
  const { rows } = await client.query<StageRow>(
    `SELECT stage, generation, detail FROM lanekeeper.rejoining WHERE term = $1 ${lock}`,
    [term],
  );
  return rows[0] ?? null;
}

export async function open(options: RejoinOptions, dc: DataCenterName, role: RoleName): Promise<Client> {
  const connected = await options.connect(dc, role)('lanekeeper rejoin');
  if (connected.kind === 'unavailable') throw new NotYet(`${dc}: ${connected.message}`);
  return connected.client;
}

/** Who is in the view, and who is not. A data center that has not joined is neither. */
export async function readPresence(
  { store, configuration }: RejoinOptions,
  successor: DataCenterName,
): Promise<{
  readonly living: readonly [DataCenterName, ...DataCenterName[]];
  readonly away: readonly DataCenterName[];
  /** In which term. */
  readonly takenOver: ReadonlyMap<DataCenterName, number>;
  readonly view: number;
  /** Whether the store has let this one in already. */
  readonly isBack: boolean;
}> {
  const { leases, term: view } = await store.read();
  const others = leases.filter(({ dataCenter }) => dataCenter !== configuration.here);
  const takenOver = new Map(
    others.flatMap(({ dataCenter, takenOver: term }) => (term === null ? [] : [[dataCenter, term] as const])),
  );
  const away = [...takenOver.keys()];
  if (away.includes(successor)) throw new NotYet(`${successor} was taken over as well`);
  const living = others.map(({ dataCenter }) => dataCenter).filter((dc) => dc !== successor && !away.includes(dc));
  const isBack = leases.some((one) => one.dataCenter === configuration.here && one.takenOver === null);
  return { living: [successor, ...living], away, takenOver, view, isBack };
}

/** Opens what a stage needs, and closes it again whatever happens. */
export async function withWork<T>(
  options: RejoinOptions,
  action: RejoinAction,
  written: StageRow,
  work: (work: Work) => Promise<T>,
): Promise<T> {
  const { here } = options.configuration;
  const clients: Client[] = [];
  const opened = async (dc: DataCenterName): Promise<Client> => {
    const client = await open(options, dc, 'agent');
    clients.push(client);
    return client;
  };
  try {
    const { living, away, takenOver, view, isBack } = await readPresence(options, action.successor);
    const own = await opened(here);
    const [successor, ...rest] = living;
    const home = await opened(successor);
    const others: Peer[] = [];
    for (const name of rest) others.push({ name, client: await opened(name) });
    const successions = await readSuccessions(home);
    const cut = ownCut(successions, action, here);
    const origin = { dataCenter: here, generation: written.generation, term: action.takenOver };
    return await work({
      options,
      action,
      here,
      own,
      home,
      peers: [{ name: successor, client: home }, ...others],
      away,
      unrecorded: away.filter(
        (name) =>
          !successions.some(({ term, cuts }) => term >= (takenOver.get(name) as number) && cuts[name] !== undefined),
      ),
      view,
      isBack,
      cut,
      origin,
      others: cutOff(successions, action, here, away),
      detail: written.detail,
    });
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})));
  }
}

/** The last word of the home: after a second failure less may have arrived there than the first successor had. */
function ownCut(
  successions: readonly RecordedSuccession[],
  { takenOver, term, successor }: RejoinAction,
  here: DataCenterName,
): RecordedCut {
  const recorded = successions.some((one) => one.term === term);
  const cut = successions.findLast((one) => one.term >= takenOver && one.cuts[here] !== undefined)?.cuts[here];
  if (!recorded || cut === undefined)
    throw new NotYet(`${successor} has not recorded the takeover of term ${term} yet`);
  return cut;
}

function cutOff(
  successions: readonly RecordedSuccession[],
  { takenOver }: RejoinAction,
  here: DataCenterName,
  away: readonly DataCenterName[],
): readonly CutOff[] {
  const lives = new Map<DataCenterName, Map<number, CutOffLife>>();
  for (const { term, cuts } of successions) {
    if (term < takenOver) continue;
    for (const [name, cut] of Object.entries(cuts)) {
      if (name === here) continue;
      const taken = successions.findLast((one) => one.kind === 'take' && one.from === name && one.term <= term);
      const origin = { dataCenter: name, generation: cut.generation, term: taken?.term ?? term };
      const known = lives.get(name) ?? new Map<number, CutOffLife>();
      lives.set(name, known.set(cut.generation, { origin, cut }));
    }
  }
  return [...lives].flatMap(([name, byGeneration]): readonly CutOff[] => {
    const [first, ...rest] = [...byGeneration.values()];
    return first === undefined ? [] : [{ name, isAway: away.includes(name), lives: [first, ...rest] }];
  });
}

/** Up to where it was set aside what we had of others, by their generations: what comes to be here later is what others have. */
export type Counted = Readonly<Record<DataCenterName, Readonly<Record<string, string>>>>;

/** By what the tail of it that is here has to be judged: the first one that was not counted yet. */
export function uncounted(other: CutOff, counted: Counted): CutOffLife {
  const before = counted[other.name] ?? {};
  const first = other.lives.find(({ cut: { generation, homed } }) => {
    const known = before[generation];
    return known === undefined || comparePositions(known, homed) > 0;
  });
  return first ?? lastLife(other);
}

export const countedIn = (detail: Work['detail']): Counted => (detail.counted ?? {}) as Counted;

export const lastLife = ({ lives }: CutOff): CutOffLife => lives[lives.length - 1] as CutOffLife;

export function isBeyond(position: string | null, cut: string): boolean {
  return position !== null && comparePositions(position, cut) > 0;
}
