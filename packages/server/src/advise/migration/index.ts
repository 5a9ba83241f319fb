/**
 * A schema migration, statement by statement: what happens while one data center has it and another one has not (faults.md, DDL).
 *
 * Facts that this rests on, of native replication: a row with a column that the reader does not have stops the stream until there is
 * one; a column that only the reader has gets its default; constraints and unique indexes are checked on arrival, foreign keys are
 * not; nothing is lost by waiting. So the schema is expanded everywhere, then the code changes, then it is contracted everywhere.
 *
 *   verdict.ts      what is said             nodes.ts         the parser's tree
 *   alter-table.ts  the longest list         differences.ts   where the data centers are not alike now
 */
import type { Configuration } from 'lanekeeper/config';
import { judgeAlterTable } from './alter-table.ts';
import { type Node, nameOf, nodesOf, tableOf, textOf, unwrap } from './nodes.ts';
import { type MigrationVerdict, travelling, verdict } from './verdict.ts';

export { type SchemaDifference, type SchemaSide, schemaDifferences } from './differences.ts';
export type { MigrationPhase, MigrationVerdict, MigrationWay } from './verdict.ts';

/** `statement`: as PostgreSQL's parser gives it (libpg_query), without its `stmt`. One verdict for each part of it, or none. */
export function judgeStatement(configuration: Configuration, statement: unknown): readonly MigrationVerdict[] {
  const unwrapped = unwrap(statement);
  if (unwrapped === null) return [];
  const [kind, node] = unwrapped;
  if (nothing.has(kind)) return [];
  const apart = judges[kind];
  if (apart !== undefined) return apart(configuration, node);
  if (quiet.has(kind)) return [verdict('alone', null, 'it changes nothing that travels')];
  return [verdict('unknown', null, `what ${kind.replace(/Stmt$/, '')} does cannot be seen in it`)];
}

const nothing = new Set(['TransactionStmt', 'VariableSetStmt', 'VariableShowStmt', 'SelectStmt', 'ExplainStmt']);

const quiet = new Set([
  'CommentStmt',
  'CreateFunctionStmt',
  'CreateExtensionStmt',
  'CreateSchemaStmt',
  'CreateEnumStmt',
  'CompositeTypeStmt',
  'CreateDomainStmt',
  'DefineStmt',
  'ViewStmt',
  'CreateTableAsStmt',
  'RefreshMatViewStmt',
  'GrantStmt',
  'GrantRoleStmt',
  'AlterDefaultPrivilegesStmt',
  'CreateRoleStmt',
  'AlterRoleStmt',
  'CreateStatsStmt',
  'VacuumStmt',
  'ReindexStmt',
  'AlterFunctionStmt',
  'AlterOwnerStmt',
  'LockStmt',
]);

type Judge = (configuration: Configuration, node: Node) => readonly MigrationVerdict[];

const local = 'it is not declared as a table that travels';
const data: Judge = (configuration, node) => {
  const table = tableOf(node.relation);
  if (table !== null && travelling(configuration, table) === null) return [verdict('alone', table, local)];
  return [
    verdict(
      'refused',
      table,
      'run in every data center it would be done once for each, and refused for accounts that live elsewhere',
      {
        instead:
          'A job in each data center over the accounts at home there, in small parts: see the guide on batch jobs.',
      },
    ),
  ];
};

const judges: Readonly<Record<string, Judge>> = {
  InsertStmt: data,
  UpdateStmt: data,
  DeleteStmt: data,
  MergeStmt: data,
  CopyStmt: data,
  TruncateStmt: (configuration, node) =>
    nodesOf(node.relations).map(([, relation]) => {
      const table = tableOf(relation);
      if (table === null || travelling(configuration, table) === null) return verdict('alone', table, local);
      return verdict('refused', table, 'TRUNCATE passes every check of rows, and is refused by the table itself');
    }),
  AlterTableStmt: (configuration, node) => {
    const name = tableOf(node.relation);
    if (node.objtype !== 'OBJECT_TABLE') return [verdict('alone', name, 'it changes nothing that travels')];
    const table = name === null ? null : travelling(configuration, name);
    if (name === null || table === null) return [verdict('alone', name, local)];
    return judgeAlterTable(name, table, node.cmds);
  },
  CreateStmt: (configuration, node) => {
    const name = tableOf(node.relation);
    const instead =
      name !== null && configuration.tables[name] !== undefined
        ? 'Then `lanekeeper apply` in each: it is closed until all of them read it.'
        : 'Declare it in `tables` and `lanekeeper apply` in each; until then it is nobody else’s, and `status` says so.';
    return [verdict('alone', name, 'nobody writes it yet', { phase: 'expand', instead })];
  },
  DropStmt: (configuration, node) => {
    const objects = Array.isArray(node.objects) ? node.objects : [];
    if (node.removeType !== 'OBJECT_TABLE') return [verdict('alone', null, 'it changes nothing that travels')];
    return objects.map((object) => {
      const name = nameOf(object);
      if (name === null || travelling(configuration, name) === null) return verdict('alone', name, local);
      return verdict('together', name, 'a row of it that is on its way stops at who has no such table', {
        phase: 'contract',
        instead: 'First take it out of `tables` and `lanekeeper apply` in each, so that it leaves the streams.',
      });
    });
  },
  RenameStmt: (configuration, node) => {
    const name = tableOf(node.relation);
    if (name === null || travelling(configuration, name) === null) return [verdict('alone', name, local)];
    if (node.renameType === 'OBJECT_COLUMN' || node.renameType === 'OBJECT_TABLE') {
      const what = node.renameType === 'OBJECT_COLUMN' ? textOf(node.subname) : name;
      return [
        verdict(
          'split',
          name,
          `rows travel by names: ${what} of the one is not there at the other, and old code knows only the old name`,
          {
            instead:
              'Add the new one, let the code write both, copy at the homes, then drop the old one; a view can keep the old name.',
          },
        ),
      ];
    }
    return [verdict('alone', name, 'only names of columns and tables travel')];
  },
  IndexStmt: (configuration, node) => {
    const name = tableOf(node.relation);
    const table = name === null ? null : travelling(configuration, name);
    if (name === null || table === null) return [verdict('alone', name, local)];
    if (node.unique === true)
      return [
        verdict('split', name, 'the same value written in two data centers at once stops the stream', {
          instead: 'Where the account is not a part of it, declare a claim first; then create it in all of them.',
        }),
      ];
    const instead =
      node.concurrent === true ? undefined : 'CONCURRENTLY: writers, and the streams, wait for it otherwise.';
    return [verdict('alone', name, 'an index does not travel', instead === undefined ? {} : { instead })];
  },
  CreateTrigStmt: (configuration, node) => {
    const name = tableOf(node.relation);
    if (name === null || travelling(configuration, name) === null) return [verdict('alone', name, local)];
    return [
      verdict('alone', name, 'it fires where a row is written and not where it arrives', {
        instead: 'Leave it so: ENABLE ALWAYS would do its work once in each data center.',
      }),
    ];
  },
  AlterEnumStmt: () => [
    verdict('together', null, 'a row with the new value stops at who does not know it', { phase: 'expand' }),
  ],
  AlterDomainStmt: () => [
    verdict('together', null, 'values that only some data centers allow stop at the others', { phase: 'contract' }),
  ],
  CreateSeqStmt: () => [
    verdict('alone', null, 'each data center has its own', {
      instead: 'Then `lanekeeper apply`: a sequence behind a key of a table that travels gets its stride.',
    }),
  ],
  AlterSeqStmt: () => [
    verdict('refused', null, 'the start and the step of a sequence keep two data centers from giving one number twice'),
  ],
  CreatePublicationStmt: () => [
    verdict('alone', null, 'publications of your own do not concern the streams between data centers'),
  ],
  AlterPublicationStmt: (_, node) => {
    const name = textOf(node.pubname);
    return name.startsWith('lanekeeper_')
      ? [
          verdict(
            'refused',
            null,
            `${name} belongs to Lanekeeper: a table that leaves it is lost elsewhere without an error`,
          ),
        ]
      : [verdict('alone', null, 'publications of your own do not concern the streams between data centers')];
  },
};
