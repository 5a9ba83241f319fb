/** The user's schema, judged by what the data centers do with it. Pure. */
import type { Configuration, Table, TableName } from 'lanekeeper/config';
import type { Catalog, TableInfo, UniqueIndexInfo } from '../catalog.ts';
import { undeclaredTables } from '../fence/index.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import { sequencesToStride } from '../plan/sequences.ts';
import { quoteList } from '../sql-text.ts';
import { declaredName } from '../streams/names.ts';
import type { Found } from './finding.ts';
import { namesRandom } from './lint-names.ts';
import { isMerged, lintShared } from './lint-shared.ts';
import { tie } from './tie.ts';

export function lintSchema(configuration: Configuration, catalog: Catalog): Found[] {
  const found: Found[] = [];
  for (const table of undeclaredTables(configuration, catalog)) {
    found.push({
      severity: 'error',
      code: 'table-undeclared',
      subject: table,
      what: `${table} is neither declared nor ignored`,
      why: 'it is not fenced and not replicated; whatever is written to it stays in one data center',
      mend: `tables: { ${JSON.stringify(table)}: { class: … } }   or   ignore: [${JSON.stringify(table)}]`,
    });
  }
  for (const declared of Object.values(configuration.tables)) {
    const table = catalog.tables.get(declared.name);
    if (!table) {
      found.push({
        severity: 'error',
        code: 'table-missing',
        subject: declared.name,
        what: `${declared.name} is declared, but this database has no such table`,
        why: 'nothing can be applied before it is there',
      });
      continue;
    }
    const travels = declared.class === 'system-of-record' || declared.feeder !== null || isMerged(declared);
    if (travels) found.push(...lintReplicated(table));
    found.push(...lintShared(table, declared));
    if (declared.class === 'system-of-record') found.push(...lintHomed(configuration, catalog, table, declared));
  }
  return [...found, ...lintSequences(configuration, catalog)];
}

function lintReplicated(table: TableInfo): Found[] {
  const found: Found[] = [];
  const name = quoteTable(table);
  const subject = table.name;
  const full = `ALTER TABLE ${name} REPLICA IDENTITY DEFAULT;`;
  if (table.primaryKey.length === 0) {
    found.push({
      severity: 'error',
      code: 'table-without-key',
      subject,
      what: `${subject} has no primary key`,
      why: 'an UPDATE or DELETE would be refused once it is published, and nobody could say which row it was',
      mend: `ALTER TABLE ${name} ADD PRIMARY KEY (…);`,
      runAs: 'owner',
    });
  } else if (table.replicaIdentity === 'n') {
    const why = 'an UPDATE or DELETE would be refused once it is published';
    found.push({
      severity: 'error',
      code: 'table-replica-identity',
      subject,
      what: `${subject} has REPLICA IDENTITY NOTHING`,
      why,
      mend: full,
      runAs: 'owner',
    });
  }
  if (table.unlogged) {
    const why = 'an unlogged table is not replicated, and a crash empties it';
    found.push({
      severity: 'error',
      code: 'table-unlogged',
      subject,
      what: `${subject} is unlogged`,
      why,
      mend: `ALTER TABLE ${name} SET LOGGED;`,
      runAs: 'owner',
    });
  }
  for (const trigger of table.triggers) {
    const ours = trigger.name.startsWith('lanekeeper_');
    if (ours || (trigger.enabled !== 'A' && trigger.enabled !== 'R')) continue;
    found.push({
      severity: 'warning',
      code: 'trigger-at-apply',
      subject: `${trigger.name} on ${subject}`,
      what: 'the trigger also fires for rows that arrive from other data centers',
      why: 'whatever it writes is written once more in every data center',
      mend: `ALTER TABLE ${name} ENABLE TRIGGER ${quoteName(trigger.name)};`,
      runAs: 'owner',
    });
  }
  return found;
}

function lintHomed(configuration: Configuration, catalog: Catalog, table: TableInfo, declared: Table): Found[] {
  if (configuration.homes === 'single' || declared.account === null) return [];
  return [
    ...lintUnique(configuration, catalog, table, declared),
    ...lintForeignKeys(configuration, catalog, table, declared),
    ...lintPathIndex(catalog, table, declared),
  ];
}

function lintUnique(configuration: Configuration, catalog: Catalog, table: TableInfo, declared: Table): Found[] {
  const account = tie(table, declared);
  const claimed = Object.values(configuration.claims).filter((claim) => claim.table === table.name);
  const drawn = new Set(
    sequencesToStride(configuration, catalog).flatMap((s) => (s.table === table.name && s.column ? [s.column] : [])),
  );
  const isSafe = (index: UniqueIndexInfo) =>
    index.primary ||
    (account.length > 0 && account.every((column) => index.columns.includes(column))) ||
    index.columns.some((column) => claimed.some((claim) => claim.column === column)) ||
    // An index over an expression has no column to compare: a claim on the table is taken to be about it.
    (index.columns.length === 0 && claimed.length > 0) ||
    index.columns.some((column) => drawn.has(column)) ||
    index.columns.some((column) => table.columns.some((info) => info.name === column && info.type === 'uuid')) ||
    table.foreignKeys.some(
      (key) => isOfAccount(configuration, catalog, key) && key.columns.every((one) => index.columns.includes(one)),
    );
  return table.uniqueIndexes
    .filter((index) => !isSafe(index))
    .map((index): Found => {
      const column = index.columns[0] ?? 'expression';
      const fixed = table.foreignKeys.find(
        (key) => isRecord(configuration, catalog, key) && key.columns.every((one) => index.columns.includes(one)),
      );
      if (fixed)
        return {
          severity: 'warning',
          code: 'unique-without-claim',
          subject: `${index.name} on ${table.name}`,
          what: `each row of ${fixed.references} may be named once in all data centers, and each can only see its own rows`,
          why: 'two accounts with different homes that name the same row stop the stream between them; harmless where each row is made for one account',
        };
      if (index.columns.some((name) => namesRandom(name)))
        return {
          severity: 'advice',
          code: 'unique-random',
          subject: `${index.name} on ${table.name}`,
          what: `${index.columns.join(', ')} must be unique in all data centers; by its name it is drawn at random`,
          why: 'at random two data centers do not draw the same; anything else needs a claim',
        };
      return {
        severity: 'error',
        code: 'unique-without-claim',
        subject: `${index.name} on ${table.name}`,
        what: `${index.columns.join(', ') || 'an expression'} must be unique in all data centers, and each can only see its own rows`,
        why: 'the same value written in two data centers at once stops the stream between them',
        mend: `claims: { ${column}: { table: ${JSON.stringify(table.name)}, column: ${JSON.stringify(column)} } }   or make it unique for each account: CREATE UNIQUE INDEX CONCURRENTLY ON ${quoteTable(table)} (${quoteList([...account, ...index.columns])});`,
      };
    });
}

function isRecord(configuration: Configuration, catalog: Catalog, key: TableInfo['foreignKeys'][number]): boolean {
  return configuration.tables[declaredName(catalog, key.references)]?.class === 'system-of-record';
}

/** A row that is named once is as unique as its own key, which its account's home gives out. */
function isOfAccount(configuration: Configuration, catalog: Catalog, key: TableInfo['foreignKeys'][number]): boolean {
  const { account } = configuration.tables[declaredName(catalog, key.references)] ?? { account: null };
  return account !== null;
}

/** Foreign keys are not checked where rows are applied, so both ends should belong to one account, or the other end to none. */
function lintForeignKeys(configuration: Configuration, catalog: Catalog, table: TableInfo, declared: Table): Found[] {
  const account = tie(table, declared);
  return table.foreignKeys.flatMap((key): Found[] => {
    const target = configuration.tables[declaredName(catalog, key.references)];
    const subject = `${key.name} on ${table.name}`;
    if (!target) {
      return [
        {
          severity: 'warning',
          code: 'key-to-unreplicated',
          subject,
          what: `it points at ${key.references}, which does not travel`,
          why: 'foreign keys are not checked where rows are applied: elsewhere the row it points at is missing',
        },
      ];
    }
    if (target.class !== 'system-of-record') return [];
    const onTheWay = key.columns.join() === account.join();
    const other = catalog.tables.get(key.references);
    // A key that contains the account on both ends cannot leave it.
    const within =
      other !== undefined &&
      account.some((column) => tie(other, target).includes(key.referencedColumns[key.columns.indexOf(column)] ?? ''));
    if (onTheWay || within) return [];
    return [
      {
        severity: 'warning',
        code: 'key-across-accounts',
        subject,
        what:
          target.home === null
            ? `${key.columns.join(', ')} may point at a row of ${key.references} that belongs to another account`
            : `${key.columns.join(', ')} points at ${key.references}, which has a home of its own (${target.home})`,
        why: 'foreign keys are not checked where rows are applied, and the two accounts may be written in different data centers',
      },
    ];
  });
}

/** Digests of moves and the fence's way to the account read by these columns. */
function lintPathIndex(catalog: Catalog, table: TableInfo, declared: Table): Found[] {
  const found: Found[] = [];
  let at: TableInfo | undefined = table;
  const path = declared.account ?? [];
  for (const [index, step] of path.entries()) {
    if (!at) break;
    const key: TableInfo['foreignKeys'][number] | undefined = at.foreignKeys.find(
      (k) => k.name === step || (k.columns.length === 1 && k.columns[0] === step),
    );
    const columns: readonly string[] = index === path.length - 1 ? [step] : (key?.columns ?? [step]);
    // Only of the table itself: the tables on the way are declared too and looked at by themselves.
    if (at === table && !at.indexes.some((indexed) => columns.every((column, i) => indexed[i] === column))) {
      found.push({
        severity: 'warning',
        code: 'path-without-index',
        subject: `${table.name} (${columns.join(', ')})`,
        what: `no index begins with ${columns.join(', ')}`,
        why: 'moving an account reads all its rows: without an index that is the whole table, while the account waits',
        mend: `CREATE INDEX CONCURRENTLY ON ${quoteTable(table)} (${quoteList(columns)});`,
        runAs: 'owner',
      });
    }
    at = key && catalog.tables.get(key.references);
  }
  return found;
}

const widest: Readonly<Record<string, bigint>> = { smallint: 32_767n, integer: 2_147_483_647n };

function lintSequences(configuration: Configuration, catalog: Catalog): Found[] {
  const stride = BigInt(configuration.stride);
  return sequencesToStride(configuration, catalog).flatMap((sequence): Found[] => {
    const subject = sequence.name;
    const found: Found[] = [];
    if (sequence.cycle) {
      const mend = `ALTER SEQUENCE ${quoteTable(sequence)} NO CYCLE;`;
      const why = 'when it begins again it leaves its stride and draws numbers that other data centers have drawn';
      found.push({
        severity: 'error',
        code: 'sequence-cycle',
        subject,
        what: `${subject} begins again at its end`,
        why,
        mend,
        runAs: 'owner',
      });
    }
    if (sequence.increment < 0n) {
      const why = 'strides only go up';
      found.push({ severity: 'error', code: 'sequence-down', subject, what: `${subject} counts down`, why });
    }
    const column = sequence.table === null ? undefined : columnType(catalog, sequence.table, sequence.column);
    const narrow = [sequence.type, column ?? '']
      .flatMap((type) => widest[type] ?? [])
      .sort((a, b) => (a < b ? -1 : 1))[0];
    const end = narrow !== undefined && narrow < sequence.maxValue ? narrow : sequence.maxValue;
    if (narrow === undefined) return found;
    const last = sequence.lastValue ?? 0n;
    const left = last > end ? 0n : (end - last) / stride;
    const used = end === 0n ? 1 : Number((last * 100n) / end) / 100;
    const where = sequence.table === null ? subject : `${sequence.table}.${sequence.column}`;
    const wider =
      sequence.table === null
        ? `ALTER SEQUENCE ${quoteTable(sequence)} AS bigint;`
        : `ALTER TABLE ${quoteTable(splitTable(catalog, sequence.table))} ALTER COLUMN ${quoteName(sequence.column ?? '')} TYPE bigint; ALTER SEQUENCE ${quoteTable(sequence)} AS bigint;`;
    found.push({
      severity: left < 1_000_000n ? 'error' : used > 0.5 ? 'warning' : 'advice',
      code: 'sequence-narrow',
      subject,
      what: `${where} is ${column ?? sequence.type}: ${left} numbers are left`,
      why: `in steps of ${stride} they are used up ${stride} times as fast`,
      mend: `${wider} -- rewrites the table under an ACCESS EXCLUSIVE lock`,
      runAs: 'owner',
    });
    return found;
  });
}

function columnType(catalog: Catalog, table: TableName, column: string | null): string | undefined {
  return catalog.tables.get(table)?.columns.find((info) => info.name === column)?.type;
}

function splitTable(catalog: Catalog, table: TableName): Pick<TableInfo, 'schema' | 'relation'> {
  return catalog.tables.get(table) ?? { schema: 'public', relation: table };
}
