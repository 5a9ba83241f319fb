/** What a database holds beside tables, keys and sequences, judged by what the data centers do with it. Pure. */
import { type Configuration, matchesPattern, type Table, type TableName } from 'lanekeeper/config';
import type { Catalog, TableInfo } from '../catalog.ts';
import { quoteName, quoteTable } from '../fence/names.ts';
import type { Hazards } from '../inspect/hazards.ts';
import { declaredName } from '../streams/names.ts';
import type { Found } from './finding.ts';
import { isMerged } from './lint-shared.ts';
import { tie } from './tie.ts';

type Place = { readonly table: TableInfo; readonly declared: Table };

export function lintHazards(configuration: Configuration, catalog: Catalog, hazards: Hazards): Found[] {
  const place = (name: TableName): Place | null => {
    const table = catalog.tables.get(name);
    const declared = configuration.tables[declaredName(catalog, name)];
    return table && declared && travels(declared) ? { table, declared } : null;
  };
  const of = <P extends { readonly table: TableName }>(
    parts: readonly P[],
    judge: (part: P, at: Place) => Found | null,
  ) =>
    parts.flatMap((part) => {
      const at = place(part.table);
      const found = at && judge(part, at);
      return found ? [found] : [];
    });
  return [
    ...of(hazards.exclusions, (part, at) => judgeExclusion(configuration, part, at)),
    ...of(hazards.rules, judgeRule),
    ...lintChangingKeys(hazards.changingKeys.flatMap((key) => (place(key.table) ? [key] : []))),
    ...of(hazards.inherited, judgeInherited),
    ...of(hazards.looseKeys, judgeLooseKey),
    ...lintColumns(configuration, catalog),
    ...lintLocalTimes(hazards.localTimes.filter(({ table }) => place(table) !== null)),
    ...lintRelations(configuration, hazards),
  ];
}

function travels(declared: Table): boolean {
  return declared.class === 'system-of-record' || declared.feeder !== null || isMerged(declared);
}

function judgeExclusion(
  { homes }: Configuration,
  { name, columns }: Hazards['exclusions'][number],
  { table, declared }: Place,
): Found | null {
  if (declared.class === 'system-of-record') {
    const account = tie(table, declared);
    // One home writes all of them, or the constraint speaks of one account only.
    if (homes === 'single' || declared.home !== null || account.some((column) => columns.includes(column))) return null;
  } else if (!isMerged(declared)) return null;
  return {
    severity: 'error',
    code: 'exclusion-across',
    subject: `${name} on ${table.name}`,
    what: `${columns.join(', ')} exclude each other in all rows, and each data center only sees what has arrived`,
    why: 'two rows that exclude each other, written in two data centers at once, stop the stream between them',
    mend: `let one data center write the table (system-of-record with a fixed home), or put the account into the constraint`,
  };
}

function judgeRule({ name }: Hazards['rules'][number], { table }: Place): Found {
  return {
    severity: 'warning',
    code: 'rule-on-table',
    subject: `${name} on ${table.name}`,
    what: 'a rule writes something else than the statement says',
    why: 'rules do not act where rows are applied, and triggers, the fence among them, see what the rule made of it',
    mend: `replace it by a trigger, then: DROP RULE ${quoteName(name)} ON ${quoteTable(table)};`,
  };
}

/** Some libraries write ON UPDATE CASCADE everywhere, and never change a key: said once. */
function lintChangingKeys(keys: Hazards['changingKeys']): Found[] {
  const [first] = keys;
  if (first === undefined) return [];
  const tables = [...new Set(keys.map(({ references }) => references))];
  const shown = tables.slice(0, 5).join(', ');
  return [
    {
      severity: 'advice',
      code: 'key-mutable',
      subject: `${first.name} on ${first.table}${keys.length === 1 ? '' : ` and ${keys.length - 1} more`}`,
      what: `keys are allowed to change (ON UPDATE …): of ${shown}${tables.length > 5 ? ` and ${tables.length - 5} more` : ''}`,
      why: 'to other data centers a changed key is one row deleted and another one born; an account whose key changes is another account',
      mend: 'keys that never change; what people see and change in a column beside it',
    },
  ];
}

function judgeInherited({ parent }: Hazards['inherited'][number], { table }: Place): Found {
  return {
    severity: 'warning',
    code: 'table-inherited',
    subject: table.name,
    what: `${table.name} inherits from ${parent}`,
    why: 'keys, foreign keys and triggers of the parent do not hold for its rows: it is fenced and replicated as a table of its own',
    mend: 'partitions instead of inheritance, or tables without a common parent',
  };
}

function judgeLooseKey({ name, kind }: Hazards['looseKeys'][number], { table, declared }: Place): Found | null {
  if (!isMerged(declared)) return null;
  return {
    severity: 'error',
    code: 'key-collation',
    subject: `${table.name}.${name}`,
    what: kind === 'citext' ? 'the key is citext' : 'the key has a nondeterministic collation',
    why: 'what is one row to PostgreSQL would be two to the merge, which compares keys byte by byte',
    mend: `ALTER TABLE ${quoteTable(table)} ALTER COLUMN ${quoteName(name)} TYPE text COLLATE "C"; -- and store it in lower case`,
    runAs: 'owner',
  };
}

/** Types whose values mean something else, or nothing, in another data center. */
function lintColumns(configuration: Configuration, catalog: Catalog): Found[] {
  return Object.values(configuration.tables).flatMap((declared) => {
    const table = catalog.tables.get(declared.name);
    if (!table || !travels(declared)) return [];
    return table.columns.flatMap((column): Found[] => {
      const subject = `${table.name}.${column.name}`;
      const type = column.type.replace(/^.*\./, '');
      if (type === 'oid' || type === 'lo')
        return [
          {
            severity: 'warning',
            code: 'column-oid',
            subject,
            what: `the column is ${type}: it names an object of this database, perhaps a large object`,
            why: 'large objects are not replicated, and oids are given out by each database for itself',
            mend: 'bytea, or a file store that both data centers reach',
          },
        ];
      if (type === 'money')
        return [
          {
            severity: 'warning',
            code: 'column-money',
            subject,
            what: 'the column is money',
            why: 'rows travel as text, and how many decimals that has depends on lc_monetary: keep it the same everywhere',
            mend: `ALTER TABLE ${quoteTable(table)} ALTER COLUMN ${quoteName(column.name)} TYPE numeric; -- rewrites the table`,
            runAs: 'owner',
          },
        ];
      const key = table.primaryKey.includes(column.name);
      if (key && /^(real|double precision)$/.test(type))
        return [
          {
            severity: isMerged(declared) ? 'error' : 'warning',
            code: 'key-float',
            subject,
            what: `the key is ${type}`,
            why: 'numbers that are equal when compared may be written differently',
            mend: 'numeric, or a whole number',
          },
        ];
      return [];
    });
  });
}

/** One finding for all: nobody reads the same sentence eighty times. */
function lintLocalTimes(columns: Hazards['localTimes']): Found[] {
  const [first] = columns;
  if (first === undefined) return [];
  const subject = `${first.table}.${first.name}`;
  return [
    {
      severity: 'advice',
      code: 'column-local-time',
      subject: columns.length === 1 ? subject : `${subject} and ${columns.length - 1} more`,
      what: `${columns.length === 1 ? 'a column is' : `${columns.length} columns are`} filled by the clock, without a time zone`,
      why: 'what is written depends on TimeZone, which is where data centers like to differ',
      mend: "ALTER ROLE … SET TimeZone = 'UTC' in every data center; or timestamptz",
    },
  ];
}

function lintRelations(configuration: Configuration, hazards: Hazards): Found[] {
  const ignored = (name: TableName) => configuration.ignore.some((pattern) => matchesPattern(pattern, name));
  const found: Found[] = [];
  for (const view of hazards.materializedViews.filter((name) => !ignored(name)))
    found.push({
      severity: 'advice',
      code: 'materialized-view',
      subject: view,
      what: `${view} is a materialized view`,
      why: 'it is not replicated: every data center refreshes its own, and until then they differ',
      mend: `refresh it by a job in every data center (one runner per data center); ignore: [${JSON.stringify(view)}] when that is so`,
    });
  for (const table of hazards.foreignTables.filter((name) => !ignored(name)))
    found.push({
      severity: 'warning',
      code: 'foreign-table',
      subject: table,
      what: `${table} is a foreign table`,
      why: 'it is somewhere else: what is written there is not fenced, and reading it from the other data center takes a round trip',
      mend: `ignore: [${JSON.stringify(table)}] when that is meant`,
    });
  if (hazards.largeObjects > 0)
    found.push({
      severity: 'warning',
      code: 'large-objects',
      subject: 'pg_largeobject',
      what: `the database holds ${hazards.largeObjects} large object${hazards.largeObjects === 1 ? '' : 's'}`,
      why: 'they are not replicated, so in other data centers what points at them points at nothing',
      mend: 'bytea, or a file store that all data centers reach',
    });
  return found;
}
