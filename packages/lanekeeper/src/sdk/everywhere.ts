/**
 * Writes to tables that every data center gets without PostgreSQL's replication: `writes: buffered` goes into a durable log,
 * `writes: direct` to each data center at once (`direct.ts`). A write is a whole row with a version that the database gives it; of
 * two writes to one key the greater version stays, wherever and whenever each arrives.
 */
import type { Configuration, Table } from '../config/index.ts';
import { LanekeeperError } from '../model/index.ts';
import { AgentBuffer, type AgentWriteAnswer } from './agent-buffer.ts';
import type { AgentClient } from './agent-client.ts';
import type { BufferedWrite, TableEverywhere } from './api.ts';
import { type Databases, isFault, reasonOf, uncertain } from './databases.ts';
import { writeDirectly } from './direct.ts';

export type EverywhereOptions = {
  readonly configuration: Configuration;
  readonly databases: Databases;
  readonly agents: AgentClient;
};

export function tableEverywhere<Row extends object>(options: EverywhereOptions, name: string): TableEverywhere<Row> {
  const table = declared(options.configuration, name);
  const write: TableEverywhere<Row>['put'] = async (row, given) => perform(options, table, asJson(row), false, given);
  return {
    put: write,
    remove: async (key, given) => perform(options, table, asJson(key), true, given),
  };
}

async function perform(
  options: EverywhereOptions,
  table: Table,
  row: string,
  remove: boolean,
  { client }: Parameters<TableEverywhere<object>['put']>[1] = {},
) {
  if (table.writes === 'direct') {
    if (client !== undefined) throw new TypeError('A direct write is in several databases: no transaction holds it.');
    return writeDirectly(options.databases, table.name, row, remove);
  }
  const values = [table.name, row, remove];
  if (options.configuration.buffer.store === 'nats') {
    if (client !== undefined) throw new TypeError('The log is in NATS: no transaction of PostgreSQL holds it.');
    return viaAgent(options.agents, table.name, row, remove);
  }
  if (client === undefined) return append(options, values);
  const { rows } = await client.query(appendSql, values);
  return { kind: 'buffered', durability: 'transaction', position: positionIn(rows) } as const;
}

const appendSql = 'SELECT of_number::text AS position FROM lanekeeper.buffer_append($1, $2::jsonb, $3)';

async function append({ configuration, databases }: EverywhereOptions, values: unknown[]): Promise<BufferedWrite> {
  const asked = await databases.ask(configuration.here, appendSql, values);
  if (asked.kind === 'answered') return { kind: 'buffered', durability: 'local', position: positionIn(asked.rows) };
  if (asked.kind === 'unavailable') throw new LanekeeperError('LK_NOT_LOGGED', undefined, {}, { cause: asked.error });
  if (isFault(asked.error)) throw asked.error;
  throw uncertain(reasonOf(asked.error), asked.error);
}

function positionIn(rows: readonly unknown[]): string {
  return (rows[0] as { readonly position: string }).position;
}

async function viaAgent(agents: AgentClient, table: string, row: string, remove: boolean): Promise<BufferedWrite> {
  const buffer = buffers.get(agents) ?? new AgentBuffer(agents);
  buffers.set(agents, buffer);
  let answer: AgentWriteAnswer;
  try {
    answer = await buffer.write(table, row, remove);
  } catch (error) {
    // One agent may have logged it before it was lost.
    throw uncertain('no agent has answered', error);
  }
  if (answer.kind === 'buffered') return answer as BufferedWrite;
  const reason = String(answer.reason ?? answer.message ?? answer.kind);
  if (answer.kind === 'refused') throw Object.assign(new Error(reason), { code: answer.state });
  if (answer.kind === 'unknown') throw uncertain(reason);
  throw new LanekeeperError('LK_NOT_LOGGED', `The log does not take this write: ${reason}`);
}

const buffers = new WeakMap<AgentClient, AgentBuffer>();

function declared({ tables }: Configuration, name: string): Table {
  const table = tables[name] ?? tables[`public.${name}`];
  if (table !== undefined && table.writes !== 'replicated') return table;
  const known = Object.values(tables).flatMap((one) => (one.writes === 'replicated' ? [] : [one.name]));
  const what = table === undefined ? 'is not in the configuration' : 'is carried by replication: write it with SQL';
  throw new LanekeeperError(
    'LK_CONFIG',
    `${name} ${what}. Written everywhere are: ${known.join(', ') || 'no tables'}.`,
  );
}

/** As PostgreSQL reads it back: bytes in hexadecimal, big integers as digits. */
function asJson(row: object): string {
  return JSON.stringify(row, function (this: Record<string, unknown>, key, value: unknown) {
    const given = this[key];
    if (given instanceof Uint8Array) return `\\x${Buffer.from(given).toString('hex')}`;
    return typeof given === 'bigint' ? given.toString() : value;
  });
}
