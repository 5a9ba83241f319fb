/** ALTER TABLE of a table that travels, part by part. */
import type { Table, TableName } from 'lanekeeper/config';
import { contains, type Node, nodesOf, textOf, unwrap } from './nodes.ts';
import { type MigrationVerdict, verdict } from './verdict.ts';

/** What an expression may contain whose value is not the same everywhere. */
const evaluated = ['FuncCall', 'SQLValueFunction', 'SubLink'];
const serials = new Set(['serial', 'bigserial', 'smallserial', 'serial4', 'serial8', 'serial2']);

const apply = 'Then `lanekeeper apply` in each, for the triggers that know the columns.';
const throughColumns =
  'Add a new column, let the code write both, copy the old values at their homes, then drop the old one.';

export function judgeAlterTable(name: TableName, table: Table, commands: unknown): readonly MigrationVerdict[] {
  return nodesOf(commands).map(([, command]) => judgeCommand(name, table, command));
}

function judgeCommand(name: TableName, table: Table, command: Node): MigrationVerdict {
  const what = textOf(command.name);
  switch (command.subtype) {
    case 'AT_AddColumn':
      return judgeColumn(name, table, (unwrap(command.def)?.[1] ?? {}) as Node);
    case 'AT_DropColumn':
      return verdict('together', name, `a row that was written with ${what} stops for good at who has dropped it`, {
        phase: 'contract',
        instead: `Only once no code reads or writes it in any data center. First \`lanekeeper migrate leave-out ${name} ${what}\`, which waits until nothing with it is on its way. ${apply}`,
      });
    case 'AT_AlterColumnType':
      return verdict(
        'split',
        name,
        `the table is written anew under a lock, and moves stop until ${what} is alike everywhere`,
        {
          instead: throughColumns,
        },
      );
    case 'AT_SetNotNull':
      return verdict('together', name, `a row without ${what} that comes from elsewhere stops the stream`, {
        phase: 'contract',
        instead: 'Only once code in every data center writes it, and no row is without it.',
      });
    case 'AT_DropNotNull':
      return verdict('together', name, `a row without ${what} stops at who still asks for it`, { phase: 'expand' });
    case 'AT_AddConstraint':
      return judgeConstraint(name, (unwrap(command.def)?.[1] ?? {}) as Node);
    case 'AT_DropConstraint':
      return verdict('together', name, 'rows that only some data centers allow stop at the others', {
        phase: 'expand',
        instead: 'A primary key must stay: rows are found by it.',
      });
    case 'AT_ReplicaIdentity':
      return verdict('refused', name, 'updates and deletes would no longer find their rows elsewhere');
    case 'AT_SetUnLogged':
      return verdict('refused', name, 'what is not logged is not replicated');
    case 'AT_DisableTrig':
    case 'AT_DisableTrigAll':
    case 'AT_DisableTrigUser':
    case 'AT_EnableAlwaysTrig':
    case 'AT_EnableReplicaTrig':
      return verdict('refused', name, 'triggers are what keeps two data centers from writing one account');
    case 'AT_AttachPartition':
    case 'AT_DetachPartition':
      return verdict('alone', name, 'partitions travel as their table', {
        instead: 'Then `lanekeeper apply`: until then `status` is red, the new partition has no fence.',
      });
    case 'AT_ChangeOwner':
      return verdict('alone', name, 'the application must not own its tables: see the guide on roles');
    case 'AT_ColumnDefault':
      return verdict('alone', name, 'defaults count where a row is written; rows travel with their values');
    case 'AT_DropExpression':
    case 'AT_SetExpression':
    case 'AT_AddIdentity':
    case 'AT_SetIdentity':
    case 'AT_DropIdentity':
      return verdict('together', name, `${what || 'the column'} would be filled in one way here and in another there`, {
        phase: 'expand',
        instead: apply,
      });
    default:
      return quiet.has(textOf(command.subtype))
        ? verdict('alone', name, 'it changes nothing that travels')
        : verdict('unknown', name, `nothing is known about ${textOf(command.subtype) || 'this part'}`);
  }
}

const quiet = new Set([
  'AT_SetStatistics',
  'AT_SetStorage',
  'AT_SetCompression',
  'AT_SetOptions',
  'AT_ResetOptions',
  'AT_SetRelOptions',
  'AT_ResetRelOptions',
  'AT_ValidateConstraint',
  'AT_ClusterOn',
  'AT_DropCluster',
  'AT_EnableTrig',
  'AT_EnableTrigAll',
  'AT_EnableTrigUser',
  'AT_SetTableSpace',
  'AT_SetLogged',
]);

function judgeColumn(name: TableName, table: Table, column: Node): MigrationVerdict {
  const what = textOf(column.colname);
  const constraints = nodesOf(column.constraints).map(([, constraint]) => constraint);
  const has = (contype: string) => constraints.find((one) => one.contype === contype);
  const [typeName] = nodesOf((column.typeName as Node | undefined)?.names).slice(-1);
  const counted = serials.has(textOf(typeName?.[1].sval)) || has('CONSTR_IDENTITY') !== undefined;
  const byDefault = has('CONSTR_DEFAULT');
  if (counted)
    return verdict('split', name, `${what} would get other numbers in each data center for the rows that are there`, {
      instead: `Add ${what} without them, ${backfill}`,
    });
  if (byDefault !== undefined && contains(byDefault.raw_expr, evaluated))
    return verdict('split', name, `the rows that are there would get another ${what} in each data center`, {
      instead: `Add ${what} without a default, then set the default, ${backfill}`,
    });
  if (has('CONSTR_PRIMARY') !== undefined)
    return verdict('refused', name, 'rows are found by their key: it is the same everywhere, at all times');
  if (has('CONSTR_UNIQUE') !== undefined && table.class === 'system-of-record')
    return verdict('split', name, `${what} could be given twice, in two data centers at once, and stop the stream`, {
      instead: 'Add the column, declare a claim for it, then the unique index: see the guide on claims.',
    });
  const required =
    has('CONSTR_NOTNULL') !== undefined && byDefault === undefined && has('CONSTR_GENERATED') === undefined;
  if (required)
    return verdict(
      'split',
      name,
      `rows written by code that does not know ${what} are refused, also those on their way`,
      {
        instead: `Add ${what} without NOT NULL, deploy the code everywhere, ${backfill} then SET NOT NULL.`,
      },
    );
  return verdict('together', name, `a row with ${what} waits at who does not have it yet`, {
    phase: 'expand',
    instead: `So that none waits, in your own time: \`lanekeeper migrate leave-out ${name} ${what} --new\` before it, \`lanekeeper migrate send ${name} ${what}\` when all have it. ${apply}`,
  });
}

const backfill = 'and fill in old rows in each data center for the accounts at home there (guide: batch jobs).';

function judgeConstraint(name: TableName, constraint: Node): MigrationVerdict {
  switch (constraint.contype) {
    case 'CONSTR_PRIMARY':
      return verdict('refused', name, 'rows are found by their key: it is the same everywhere, at all times');
    case 'CONSTR_FOREIGN':
      return verdict('together', name, 'it is checked where a row is written, not where it arrives', {
        phase: 'contract',
        instead: 'Keep it within one account: `lanekeeper advise` says where it is not.',
      });
    case 'CONSTR_EXCLUSION':
      return verdict(
        'split',
        name,
        'two rows that exclude each other, written in two data centers at once, stop the stream',
        {
          instead: 'Let one data center decide: an account or a fixed home for what is excluded.',
        },
      );
    case 'CONSTR_UNIQUE':
      return verdict('split', name, 'the same value written in two data centers at once stops the stream', {
        instead: 'Where the account is not a part of it, declare a claim first; then add it in all of them.',
      });
    default:
      return verdict('together', name, 'rows that only some data centers allow stop at the others', {
        phase: 'contract',
        instead: 'Only once code in every data center keeps to it; NOT VALID first, VALIDATE later.',
      });
  }
}
