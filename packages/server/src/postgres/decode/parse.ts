/** One message of `pgoutput`, from its bytes. Pure: the only state of the protocol, being in a stream, is an argument. */
import { ByteReader, Malformed } from './byte-reader.ts';
import {
  type MessageColumn,
  type Microseconds,
  type OldTuple,
  type PgoutputMessage,
  type ReplicaIdentity,
  type Tuple,
  type TupleValue,
  unchanged,
} from './messages.ts';

export type ParseOptions = {
  /** Between Stream Start and Stream Stop (protocol 2 and up), where messages carry their transaction. Default false. */
  readonly inStream?: boolean;
};

export type ParseResult =
  | { readonly kind: 'parsed'; readonly message: PgoutputMessage }
  /** `offset`: the byte of the message where `expected` should have been. */
  | { readonly kind: 'malformed'; readonly offset: number; readonly expected: string };

export function parseMessage(bytes: Buffer, options: ParseOptions = {}): ParseResult {
  const reader = new ByteReader(bytes);
  try {
    const message = readMessage(reader, options.inStream === true);
    reader.end();
    return { kind: 'parsed', message };
  } catch (thrown) {
    if (!(thrown instanceof Malformed)) throw thrown;
    return { kind: 'malformed', offset: thrown.offset, expected: thrown.expected };
  }
}

/** The first byte of a Commit message, for whoever only wants to know where a transaction ends. */
export const commitByte = 0x43;

function readMessage(reader: ByteReader, inStream: boolean): PgoutputMessage {
  const type = String.fromCharCode(reader.byte('a type of message'));
  const streamed = () => ({ xid: inStream ? reader.uint32('a transaction id') : null });
  switch (type) {
    case 'B': {
      const commitLsn = reader.uint64('the position of the commit');
      return { kind: 'begin', commitLsn, committedAtUs: time(reader), xid: reader.uint32('a transaction id') };
    }
    case 'C':
      return { kind: 'commit', ...commit(reader) };
    case 'O':
      return {
        kind: 'origin',
        lsn: reader.uint64('the position at the origin'),
        name: reader.string('an origin name'),
      };
    case 'R':
      return {
        kind: 'relation',
        ...streamed(),
        oid: reader.uint32('the id of a relation'),
        schema: schemaName(reader),
        name: reader.string('the name of a relation'),
        identity: reader.oneOf(identities, 'a replica identity'),
        columns: columns(reader),
      };
    case 'Y':
      return {
        kind: 'type',
        ...streamed(),
        oid: reader.uint32('the id of a type'),
        schema: schemaName(reader),
        name: reader.string('the name of a type'),
      };
    case 'I': {
      const head = { kind: 'insert', ...streamed(), oid: reader.uint32('the id of a relation') } as const;
      reader.oneOf(newMark, 'a new tuple');
      return { ...head, new: tuple(reader) };
    }
    case 'U': {
      const head = { kind: 'update', ...streamed(), oid: reader.uint32('the id of a relation') } as const;
      const mark = reader.oneOf(oldOrNewMark, 'a key, an old or a new tuple');
      const old = mark === 'new' ? null : { is: mark, tuple: tuple(reader) };
      if (mark !== 'new') reader.oneOf(newMark, 'a new tuple');
      return { ...head, old, new: tuple(reader) };
    }
    case 'D': {
      const head = { kind: 'delete', ...streamed(), oid: reader.uint32('the id of a relation') } as const;
      const is = reader.oneOf(oldMark, 'a key or an old tuple');
      return { ...head, old: { is, tuple: tuple(reader) } };
    }
    case 'T':
      return truncate(reader, streamed());
    case 'M': {
      const head = {
        kind: 'message',
        ...streamed(),
        transactional: reader.oneOf(yesOrNo, 'a flag, transactional or not'),
        lsn: reader.uint64('the position of the message'),
        prefix: reader.string('a prefix'),
      } as const;
      return { ...head, content: reader.copy(reader.length('the content'), 'the content') };
    }
    case 'S':
      return {
        kind: 'stream-start',
        xid: reader.uint32('a transaction id'),
        firstSegment: reader.oneOf(yesOrNo, 'a flag, first segment or not'),
      };
    case 'E':
      return { kind: 'stream-stop' };
    case 'c':
      return { kind: 'stream-commit', xid: reader.uint32('a transaction id'), ...commit(reader) };
    case 'A': {
      const xids = { xid: reader.uint32('a transaction id'), subxid: reader.uint32('the id of a subtransaction') };
      // Whether more follows was agreed on when the stream began; the length says the same.
      const aborted =
        reader.left === 0 ? null : { lsn: reader.uint64('the position of the abort'), atUs: time(reader) };
      return { kind: 'stream-abort', ...xids, aborted };
    }
    default:
      throw new Malformed(0, 'a type of message that is known');
  }
}

const identities: ReadonlyMap<number, ReplicaIdentity> = byByte({ d: 'default', n: 'nothing', f: 'full', i: 'index' });
const newMark = byByte({ N: 'new' } as const);
const oldMark: ReadonlyMap<number, OldTuple['is']> = byByte({ K: 'key', O: 'row' });
const oldOrNewMark = new Map<number, OldTuple['is'] | 'new'>([...oldMark, ...newMark]);
const valueMarks = byByte({ n: 'null', u: 'unchanged', t: 'text', b: 'binary' } as const);
const yesOrNo = new Map([
  [0, false],
  [1, true],
]);
const noFlags = new Map([[0, true]]);

function byByte<T>(choices: Readonly<Record<string, T>>): Map<number, T> {
  return new Map(Object.entries(choices).map(([letter, choice]) => [letter.charCodeAt(0), choice]));
}

/** PostgreSQL counts from 2000-01-01. */
const epochUs = 946_684_800_000_000n;

function time(reader: ByteReader): Microseconds {
  return reader.int64('a time') + epochUs;
}

function commit(reader: ByteReader) {
  reader.oneOf(noFlags, 'no flags');
  return {
    commitLsn: reader.uint64('the position of the commit'),
    endLsn: reader.uint64('the position after the commit'),
    committedAtUs: time(reader),
  };
}

/** The plugin writes nothing for `pg_catalog`. */
function schemaName(reader: ByteReader): string {
  return reader.string('a schema') || 'pg_catalog';
}

function columns(reader: ByteReader): MessageColumn[] {
  const count = reader.uint16('the number of columns');
  const found: MessageColumn[] = [];
  for (let index = 0; index < count; index += 1) {
    found.push({
      inIdentity: reader.oneOf(yesOrNo, 'a flag, key column or not'),
      name: reader.string('the name of a column'),
      typeOid: reader.uint32('the id of a type'),
      typeModifier: reader.int32('the modifier of a type'),
    });
  }
  return found;
}

function tuple(reader: ByteReader): Tuple {
  const count = reader.uint16('the number of values');
  const values: TupleValue[] = [];
  for (let index = 0; index < count; index += 1) {
    const mark = reader.oneOf(valueMarks, 'a kind of value');
    if (mark === 'null') values.push(null);
    else if (mark === 'unchanged') values.push(unchanged);
    else if (mark === 'text') values.push(reader.text(reader.length('a value'), 'a value'));
    else values.push(reader.copy(reader.length('a value'), 'a value'));
  }
  return values;
}

function truncate(reader: ByteReader, streamed: { readonly xid: number | null }): PgoutputMessage {
  const count = reader.uint32('the number of relations');
  const at = reader.offset;
  const options = reader.byte('the options of TRUNCATE');
  if (options > 3) throw new Malformed(at, 'options of TRUNCATE that are known');
  const oids: number[] = [];
  // A count that promises too much ends with the bytes.
  for (let index = 0; index < count; index += 1) oids.push(reader.uint32('the id of a relation'));
  return { kind: 'truncate', ...streamed, oids, cascade: (options & 1) !== 0, restartIdentity: (options & 2) !== 0 };
}
