/** Table by table: what it is, whether every data center can write it, and what the application must do for that. Pure. */
import type { Configuration, Table, TableName } from 'lanekeeper/config';
import type { DataClass } from 'lanekeeper/model';
import type { Catalog, Finding, TableInfo } from '../postgres/index.ts';
import type { Guess, TableGuess } from './infer.ts';

/** The five patterns of shared-nothing databases: 1 many masters, one active; 2 one master, many readers; 3 a feeder; 4 direct; 5 buffered. */
export type Pattern = 1 | 2 | 3 | 4 | 5;

export type TableAdvice = {
  readonly table: TableName;
  /** As the configuration says; null without one, or when it says nothing of this table. */
  readonly declared: DataClass | null;
  readonly suggested: DataClass | 'ignore';
  readonly why: string;
  /** Whether customers of every data center are served by their own when they write it. */
  readonly activeActive: 'yes' | 'with-changes' | 'no';
  readonly because: string;
  /** Null where nothing travels, and where writes are merged. */
  readonly pattern: Pattern | null;
  readonly policy: Table['policy'];
  /** What the application must change. */
  readonly changes: readonly string[];
  readonly findings: readonly Finding[];
};

/** `configuration`: what is declared, or what was guessed; `findings`: what was found about it. */
export function adviseTables(
  catalog: Catalog,
  configuration: Configuration,
  guess: Guess,
  findings: readonly Finding[],
  declared: boolean,
): readonly TableAdvice[] {
  const guessed = new Map(guess.tables.map((one) => [one.table.name, one]));
  return [...catalog.tables.values()]
    .filter((table) => table.partitionOf === null)
    .map((table): TableAdvice => {
      const written = configuration.tables[table.name] ?? null;
      const own = findings.filter((found) => isAbout(found, table));
      const suggestion = guessed.get(table.name) ?? null;
      const base = {
        table: table.name,
        declared: declared ? (written?.class ?? null) : null,
        suggested: suggestion?.written.class ?? 'ignore',
        why: suggestion?.why ?? guess.ignored.find(({ name }) => name === table.name)?.why ?? 'nothing is known of it',
        findings: own,
      } as const;
      if (written === null) {
        const because = declared ? 'not declared, or ignored: it stays where it is written' : 'it is left alone';
        return { ...base, activeActive: 'no', because, pattern: null, policy: null, changes: [] };
      }
      const judged = judge(configuration, table, written, suggestion);
      const blocked = judged.activeActive === 'yes' && own.some(({ severity }) => severity === 'error');
      const changes = [...judged.changes, ...claimsOn(configuration, table.name)];
      return {
        ...base,
        ...judged,
        activeActive:
          blocked || (judged.activeActive === 'yes' && changes.length > 0) ? 'with-changes' : judged.activeActive,
        changes,
      };
    });
}

type Judged = Pick<TableAdvice, 'activeActive' | 'because' | 'pattern' | 'policy' | 'changes'>;

function judge(configuration: Configuration, table: TableInfo, declared: Table, guess: TableGuess | null): Judged {
  const { policy } = declared;
  const says = (
    activeActive: Judged['activeActive'],
    because: string,
    pattern: Pattern | null,
    changes: readonly string[] = [],
  ): Judged => ({ activeActive, because, pattern, policy, changes });
  if (declared.class === 'session-state') return says('yes', 'nothing of it is needed elsewhere', null);
  if (declared.writes === 'direct')
    return says('yes', 'the application writes to every data center, in order for each key', 4, [
      'write through the SDK: it says which data centers have the write',
    ]);
  if (declared.writes === 'buffered')
    return says('yes', 'writes wait in a log and are drained everywhere, in order for each key', 5, [
      'write through the SDK, and do not read back at once: the write is acknowledged before it is seen',
    ]);
  if (declared.class === 'system-of-record') return judgeRecord(configuration, declared, guess, says);
  if (declared.feeder !== null)
    return says('no', `${declared.feeder} writes it, all read it`, 3, [
      declared.class === 'system-of-reference'
        ? `write it in ${declared.feeder} only`
        : `write it in ${declared.feeder} only, while it is published`,
    ]);
  if (policy === 'last-man-standing')
    return says('yes', 'whatever arrives last stays, and data centers stay different', null, [
      'never rely on what it says',
    ]);
  if (policy !== null)
    return says(
      'yes',
      `written anywhere; of two writes to one row at once the ${loser(policy)} is lost`,
      policy === 'locality-weight' ? 3 : null,
      [
        'expect that a write to a row can lose: `lanekeeper conflicts`, or onConflict in the SDK',
        ...(hasCounter(table) ? ['do not add to a number in place: add rows, and sum them up'] : []),
      ],
    );
  return says('yes', 'each data center has its own', null);
}

function judgeRecord(
  configuration: Configuration,
  declared: Table,
  guess: TableGuess | null,
  says: (a: Judged['activeActive'], b: string, p: Pattern | null, c?: readonly string[]) => Judged,
): Judged {
  if (configuration.homes === 'single') return says('no', 'one data center writes everything at a time', 1);
  if (declared.home !== null)
    return says('no', `one home for all its rows (${declared.home}), which moves as a whole`, 2, [
      `routes that write it: { lanekeeper: { home: '${declared.home}' } }`,
      'write it in no transaction with rows of an account, which may have another home: an outbox or a second request',
    ]);
  const changes = [
    ...(declared.root ? ['a sign-in goes through the SDK (signIn, beGuest), which knows the home of the account'] : []),
    ...(declared.nullAccount !== null
      ? [
          `give guests an account of their own (beGuest): rows without one all live in the home of ${declared.nullAccount}`,
        ]
      : []),
  ];
  const named = guess?.why.includes('no foreign key') ? ' (no foreign key holds that)' : '';
  return says(
    'yes',
    `each row is written in the home of its account, found by ${declared.account?.join('.')}${named}`,
    1,
    changes,
  );
}

function loser(policy: NonNullable<Table['policy']>): string {
  return {
    'timestamp-weight': 'earlier',
    'locality-weight': 'lighter',
    'application-weight': 'lighter',
    'last-man-standing': 'earlier',
  }[policy];
}

function hasCounter(table: TableInfo): boolean {
  return table.columns.some(
    ({ name, type }) =>
      /(count|total|quantity|stock|balance|amount)/i.test(name) && /(int|numeric|real|double)/.test(type),
  );
}

function claimsOn(configuration: Configuration, table: TableName): readonly string[] {
  return Object.values(configuration.claims)
    .filter((claim) => claim.table === table)
    .map((claim) => `claim ${claim.column} before writing it: lanekeeper.claim('${claim.name}', value, { account })`);
}

/** A finding's subject names the table first, last (`index on table`), or a sequence, which is nobody's. */
export function isAbout({ subject }: Pick<Finding, 'subject'>, { name }: Pick<TableInfo, 'name'>): boolean {
  return (
    subject === name ||
    subject.startsWith(`${name} (`) ||
    subject.startsWith(`${name}.`) ||
    subject.endsWith(` on ${name}`)
  );
}
