import type { Configuration } from 'lanekeeper/config';
import type { SequenceInfo } from '../catalog.ts';
import { quoteTable } from '../fence/names.ts';
import type { Queryable } from '../queryable.ts';
import { strideSequence, strideSql } from './sequences.ts';
import { readUse } from './state.ts';

/**
 * Sets a sequence on its stride, in the caller's transaction. An ALTER SEQUENCE that changes nothing comes first: its lock
 * keeps everybody from drawing, so that what is read after it is still true when the sequence is set.
 */
export async function restride(client: Queryable, configuration: Configuration, sequence: SequenceInfo): Promise<void> {
  await client.query(`ALTER SEQUENCE ${quoteTable(sequence)} INCREMENT BY ${sequence.increment}`);
  const use = await readUse(client, configuration, sequence);
  const number = configuration.dataCenters[configuration.here]?.number ?? 0;
  const target = strideSequence(sequence, use, number, configuration.stride);
  if (target) await client.query(strideSql(sequence, target));
}
