/** Settings of one server, judged. Pure. */
import { quoteName } from '../fence/names.ts';
import { padName } from '../sync/index.ts';
import type { Found, Severity } from './finding.ts';

export type Setting = {
  readonly name: string;
  /** In the setting's base unit, as `pg_settings.setting`. */
  readonly value: string;
  readonly unit: string | null;
  /** `pg_settings.context`: `postmaster` needs a restart. */
  readonly context: string;
};

export type ServerFacts = {
  /** `server_version_num` */
  readonly version: number;
  readonly settings: ReadonlyMap<string, Setting>;
  readonly roles: { readonly application: string };
};

/** The first version with the columns `confl_…` in `pg_stat_subscription_stats`. */
const firstThatCounts = 180_000;

type Rule = {
  readonly name: string;
  readonly severity: Severity;
  readonly isRight: (value: string) => boolean;
  readonly wanted: string;
  readonly why: string;
};

const atLeast = (least: number) => (value: string) => Number(value) >= least;

/** How much two streams each way with `peers` other data centers need, and a little to spare for a third and for backups. */
function rules(peers: number): readonly Rule[] {
  const streams = 2 * peers;
  // One is kept for each, and one is read when the third data center has failed.
  const relays = peers > 1 ? peers + 1 : 0;
  const slotsWhy = `every other data center reads two slots here, peeking one${relays === 0 ? '' : '; and one is kept for each, should the third fail'}`;
  const counted = (name: string, least: number, why: string): Rule => ({
    name,
    severity: 'error',
    isRight: atLeast(least),
    wanted: String(Math.max(10, least * 2)),
    why,
  });
  return [
    {
      name: 'wal_level',
      severity: 'error',
      isRight: (value) => value === 'logical',
      wanted: 'logical',
      why: 'rows travel by logical replication',
    },
    counted('max_replication_slots', streams + relays + 1, slotsWhy),
    counted('max_active_replication_origins', streams, 'every stream that is read here keeps its position in one'),
    counted('max_wal_senders', streams + 1, 'every other data center reads two streams here'),
    counted('max_logical_replication_workers', streams + 2, 'every stream that is read here has a worker'),
    counted('max_worker_processes', streams + 4, 'the workers of streams come out of this number'),
    {
      name: 'max_sync_workers_per_subscription',
      severity: 'advice',
      isRight: atLeast(1),
      wanted: '2',
      why: 'a table that is added to a stream is taken up by such a worker',
    },
    {
      name: 'max_prepared_transactions',
      severity: 'error',
      isRight: (value) => value === '0',
      wanted: '0',
      why: 'a prepared transaction passes the check at commit and commits after the lease has run out',
    },
    {
      name: 'track_commit_timestamp',
      severity: 'advice',
      isRight: (value) => value === 'on',
      wanted: 'on',
      why: 'conflicts between data centers are then seen and counted (PostgreSQL 18)',
    },
    {
      name: 'wal_receiver_status_interval',
      severity: 'error',
      isRight: (value) => Number(value) > 0 && Number(value) <= 1,
      wanted: '1s',
      why: 'the others learn by it that this one is there: silent for longer than `durability.peerTimeout`, it leaves the sync set and takes nothing over',
    },
    {
      name: 'synchronous_commit',
      severity: 'warning',
      isRight: (value) => value === 'local',
      wanted: 'local',
      why: 'what is not declared `remote` would wait for another data center all the same, and for ever while there is none',
    },
    {
      name: 'synchronous_standby_names',
      severity: 'warning',
      isRight: (value) => value === '' || value.includes(padName),
      wanted: '',
      why: 'the agent writes this list and replaces what others have put there; standbys of this data center that `remote` commits are to wait for belong into `dataCenters.X.standbys`, with `sync: true`',
    },
    {
      name: 'fsync',
      severity: 'warning',
      isRight: (value) => value === 'on',
      wanted: 'on',
      why: 'a power cut loses acknowledged writes, and streams go on from positions that this server no longer knows',
    },
    {
      name: 'full_page_writes',
      severity: 'warning',
      isRight: (value) => value === 'on',
      wanted: 'on',
      why: 'a power cut may corrupt pages',
    },
    {
      name: 'idle_replication_slot_timeout',
      severity: 'warning',
      isRight: (value) => value === '0',
      wanted: '0',
      why: 'a data center that is away for longer loses its place, and must be seeded again however little was written meanwhile',
    },
    {
      name: 'max_slot_wal_keep_size',
      severity: 'advice',
      isRight: (value) => value !== '-1',
      wanted: '64GB',
      why: 'without a limit a data center that stays away fills this disk; with one it loses its place and must be seeded again',
    },
  ];
}

export function judgeSettings(facts: ServerFacts, peers: number): Found[] {
  const found: Found[] = [];
  if (facts.version < 160_000) {
    found.push({
      severity: 'error',
      code: 'server-version',
      subject: 'server_version',
      what: `this is PostgreSQL ${Math.floor(facts.version / 10_000)}`,
      why: 'subscriptions that leave out what came from elsewhere (origin = none) need 16 or newer',
    });
  } else if (facts.version < firstThatCounts) {
    found.push({
      severity: 'advice',
      code: 'conflicts-uncounted',
      subject: 'server_version',
      what: `this is PostgreSQL ${Math.floor(facts.version / 10_000)}, which does not count the conflicts that replication meets`,
      why: 'a change of a row that is not there is passed over, and only a move of its account or `lanekeeper verify` finds that out: run it regularly; PostgreSQL 18 counts them',
    });
  }
  for (const rule of rules(peers)) {
    const setting = facts.settings.get(rule.name);
    // A setting that this version does not have is not missing.
    if (!setting || rule.isRight(setting.value)) continue;
    const restart = setting.context === 'postmaster';
    found.push({
      severity: rule.severity,
      code: `setting-${rule.name}`,
      subject: rule.name,
      what: `${rule.name} is ${setting.value}${setting.unit ?? ''}`,
      why: rule.why,
      mend: `ALTER SYSTEM SET ${rule.name} = '${rule.wanted}';${restart ? '' : ' SELECT pg_reload_conf();'}`,
      runAs: 'superuser',
      takesEffect: restart ? 'restart' : 'reload',
    });
  }
  return [...found, ...judgeTimeouts(facts)];
}

/** One transaction that is left open in one data center holds up what is applied there for all accounts. */
function judgeTimeouts(facts: ServerFacts): Found[] {
  const setting = facts.settings.get('idle_in_transaction_session_timeout');
  if (setting?.value !== '0') return [];
  return [
    {
      severity: 'warning',
      code: 'role-idle-timeout',
      subject: facts.roles.application,
      what: 'transactions of the application may stay open and idle for ever',
      why: 'the locks of one forgotten transaction hold up the stream for every account',
      mend: `ALTER ROLE ${quoteName(facts.roles.application)} SET idle_in_transaction_session_timeout = '30s';`,
      runAs: 'superuser',
    },
  ];
}
