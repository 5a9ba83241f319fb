/** Whether a standby of this data center's own could be promoted in its place, as far as the primary knows. Pure. */
import type { DataCenter } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { quoteText } from '../fence/names.ts';
import type { PhysicalSlot, StandbyFacts } from '../standbys/read.ts';
import type { Found } from './finding.ts';

const firstWithFailover = 170_000;

export function judgeStandbys(facts: StandbyFacts, here: DataCenterName, standbys: DataCenter['standbys']): Found[] {
  return [
    ...judgeSynchronized(facts),
    ...judgeUndeclared(facts, here, standbys),
    ...(standbys.length === 0 ? [] : [...judgeVersion(facts), ...judgeSlots(facts)]),
    ...standbys.flatMap(({ name }) => (name === facts.name ? [] : judgeOne(facts, name))),
  ];
}

/** Whatever is configured here: one of those that is away stops every stream from here. */
function judgeSynchronized({ synchronized, slots }: StandbyFacts): Found[] {
  const away = synchronized.filter((name) => !slots.some((slot) => slot.name === name && slot.active));
  return away.map((name) => ({
    severity: 'error',
    code: 'synchronized-standby-away',
    subject: name,
    what: `synchronized_standby_slots names ${name}, and ${slots.some((slot) => slot.name === name) ? 'nobody reads from that slot' : 'there is no such slot'}`,
    why: 'until that is so, nothing that is written here is sent to the other data centers',
    mend: synchronizedWith(synchronized.filter((one) => !away.includes(one))),
    runAs: 'superuser',
    takesEffect: 'reload',
  }));
}

function judgeUndeclared({ slots }: StandbyFacts, here: DataCenterName, standbys: DataCenter['standbys']): Found[] {
  return slots
    .filter(({ active, name }) => active && !standbys.some((one) => one.name === name))
    .map(({ name }) => ({
      severity: 'advice',
      code: 'standby-undeclared',
      subject: name,
      what: `something reads the whole log from the slot ${name}, and no standby of that name is configured`,
      why: 'if it may be promoted, `doctor` should see whether that can go well, and a lease should be left to run out rather than be given up',
      mend: `dataCenters.${here}.standbys: [{ name: ${name} }]`,
    }));
}

function judgeVersion({ version }: StandbyFacts): Found[] {
  if (version >= firstWithFailover) return [];
  return [
    {
      severity: 'warning',
      code: 'standbys-need-17',
      subject: 'server_version',
      what: `this is PostgreSQL ${Math.floor(version / 10_000)}, whose standbys keep no copies of logical slots`,
      why: 'a promoted standby gets no lease: the others could not read on from it, and it would have to be seeded again; PostgreSQL 17 can',
    },
  ];
}

function judgeSlots({ version, withoutFailover }: StandbyFacts): Found[] {
  if (version < firstWithFailover || withoutFailover.length === 0) return [];
  return [
    {
      severity: 'warning',
      code: 'slots-without-failover',
      subject: withoutFailover.join(', '),
      what: 'standbys keep no copies of these slots',
      why: 'after a promotion whoever reads them would miss what is written then, so that the promoted one gets no lease',
      mend: 'lanekeeper apply, in the data centers that read them',
    },
  ];
}

function judgeOne(facts: StandbyFacts, name: string): Found[] {
  const { version, slots, synchronized } = facts;
  const slot = slots.find((one) => one.name === name);
  const found: Found[] = [];
  if (slot === undefined) {
    const what = `the standby ${name} has no slot of that name here`;
    const why = 'what it has yet to read may be removed, and nobody can see how far it is';
    const mend = `SELECT pg_create_physical_replication_slot(${quoteText(name)}, true);`;
    return [{ severity: 'warning', code: 'standby-without-slot', subject: name, what, why, mend, runAs: 'superuser' }];
  }
  if (!slot.active) {
    const what = `the standby ${name} does not read`;
    return [
      {
        severity: 'warning',
        code: 'standby-away',
        subject: name,
        what,
        why: 'promoted now, it would lack what was written since',
      },
    ];
  }
  if (version < firstWithFailover) return found;
  found.push(...judgeCopies(slot));
  if (!synchronized.includes(name)) {
    found.push({
      severity: 'warning',
      code: 'standby-may-be-behind',
      subject: name,
      what: `another data center may be sent what the standby ${name} does not have yet: it is not in synchronized_standby_slots`,
      why: 'promoted, it gets no lease as long as somebody is known to have more of its log than it has; another data center has to take over then, and it has to be seeded again',
      mend: synchronizedWith([...synchronized, name]),
      runAs: 'superuser',
      takesEffect: 'reload',
    });
  }
  return found;
}

/** The standby's own settings cannot be seen from here; what they bring about can. */
function judgeCopies({ name, feedback, keepsSlots }: PhysicalSlot): Found[] {
  const common = { severity: 'warning', subject: name, runAs: 'superuser', takesEffect: 'reload' } as const;
  if (!feedback && !keepsSlots) {
    return [
      {
        ...common,
        code: 'standby-without-feedback',
        what: `the standby ${name} does not say what it still needs`,
        why: 'without that no copies of logical slots can be kept there: after a promotion it would get no lease, and have to be seeded again',
        mend: 'ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); -- on the standby',
      },
    ];
  }
  if (keepsSlots) return [];
  return [
    {
      ...common,
      code: 'standby-without-slots',
      what: `the standby ${name} keeps no copies of logical slots`,
      why: 'after a promotion it would get no lease, and have to be seeded again; its primary_slot_name must be set, and its primary_conninfo must have a dbname',
      mend: 'ALTER SYSTEM SET sync_replication_slots = on; SELECT pg_reload_conf(); -- on the standby',
    },
  ];
}

function synchronizedWith(names: readonly string[]): string {
  return `ALTER SYSTEM SET synchronized_standby_slots = ${quoteText(names.join(', '))}; SELECT pg_reload_conf();`;
}
