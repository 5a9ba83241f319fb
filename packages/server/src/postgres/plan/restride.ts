import type { Configuration } from 'lanekeeper/config';
import type { SequenceInfo } from '../catalog.ts';
import { quoteTable, quoteText } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { nextNumber } from './sequences.ts';
import { readUse } from './state.ts';

/**
 * Sets a sequence on its stride, in the caller's transaction. ALTER SEQUENCE comes first: its lock keeps everybody from
 * drawing, so that what is read after it is still true when the sequence is set.
 */
export async function restride(client: Queryable, configuration: Configuration, sequence: SequenceInfo): Promise<void> {
  const name = quoteTable(sequence);
  const number = configuration.dataCenters[configuration.here]?.number ?? 0;
  await client.query(`ALTER SEQUENCE ${name} INCREMENT BY ${configuration.stride}`);
  const { rows } = await client.query<{ last: string; called: boolean }>(
    `SELECT last_value::text AS last, is_called AS called FROM ${name}`,
  );
  const state = rows[0];
  if (!state) throw new TypeError(`${sequence.name} is not a sequence`);
  const use = await readUse(client, configuration, sequence);
  const from = BigInt(state.last) + (state.called ? 1n : 0n);
  const strided = sequence.increment === BigInt(configuration.stride);
  const next = nextNumber(from, strided ? use.largestOwn : use.largest, number, configuration.stride);
  await client.query(`SELECT setval(${quoteText(name)}::regclass, $1, false)`, [next.toString()]);
}
