/** Writes what `pgoutput` writes, so that a parser can be tried with messages that no server sends on demand. */
import { type PgoutputMessage, unchanged } from '../../packages/server/src/postgres/decode/index.ts';

type Tuple = readonly (string | null | typeof unchanged | Buffer)[];

/** PostgreSQL counts microseconds from 2000, we from 1970. */
const epochUs = 946_684_800_000_000n;

export function encodeMessage(message: PgoutputMessage): Buffer {
  switch (message.kind) {
    case 'begin':
      return join('B', u64(message.commitLsn), i64(message.committedAtUs - epochUs), u32(message.xid));
    case 'commit':
      return join('C', commit(message));
    case 'origin':
      return join('O', u64(message.lsn), string(message.name));
    case 'relation':
      return join(
        'R',
        streamed(message.xid),
        u32(message.oid),
        schema(message.schema),
        string(message.name),
        Buffer.from({ default: 'd', nothing: 'n', full: 'f', index: 'i' }[message.identity]),
        u16(message.columns.length),
        ...message.columns.flatMap((column) => [
          u8(column.inIdentity ? 1 : 0),
          string(column.name),
          u32(column.typeOid),
          i32(column.typeModifier),
        ]),
      );
    case 'type':
      return join('Y', streamed(message.xid), u32(message.oid), schema(message.schema), string(message.name));
    case 'insert':
      return join('I', streamed(message.xid), u32(message.oid), 'N', tuple(message.new));
    case 'update': {
      const old = message.old === null ? [] : [message.old.is === 'key' ? 'K' : 'O', tuple(message.old.tuple)];
      return join('U', streamed(message.xid), u32(message.oid), ...old, 'N', tuple(message.new));
    }
    case 'delete': {
      const { is, tuple: old } = message.old;
      return join('D', streamed(message.xid), u32(message.oid), is === 'key' ? 'K' : 'O', tuple(old));
    }
    case 'truncate': {
      const options = (message.cascade ? 1 : 0) | (message.restartIdentity ? 2 : 0);
      return join('T', streamed(message.xid), u32(message.oids.length), u8(options), ...message.oids.map(u32));
    }
    case 'message':
      return join(
        'M',
        streamed(message.xid),
        u8(message.transactional ? 1 : 0),
        u64(message.lsn),
        string(message.prefix),
        i32(message.content.length),
        message.content,
      );
    case 'stream-start':
      return join('S', u32(message.xid), u8(message.firstSegment ? 1 : 0));
    case 'stream-stop':
      return join('E');
    case 'stream-commit':
      return join('c', u32(message.xid), commit(message));
    case 'stream-abort': {
      const { aborted } = message;
      const more = aborted === null ? [] : [u64(aborted.lsn), i64(aborted.atUs - epochUs)];
      return join('A', u32(message.xid), u32(message.subxid), ...more);
    }
  }
}

function commit(message: { commitLsn: bigint; endLsn: bigint; committedAtUs: bigint }): Buffer {
  return join(u8(0), u64(message.commitLsn), u64(message.endLsn), i64(message.committedAtUs - epochUs));
}

function tuple(values: Tuple): Buffer {
  return join(u16(values.length), ...values.flatMap(value));
}

function value(one: Tuple[number]): (string | Buffer)[] {
  if (one === null) return ['n'];
  if (one === unchanged) return ['u'];
  const bytes = typeof one === 'string' ? Buffer.from(one) : (one as Buffer);
  return [typeof one === 'string' ? 't' : 'b', i32(bytes.length), bytes];
}

function streamed(xid: number | null): Buffer {
  return xid === null ? Buffer.alloc(0) : u32(xid);
}

function schema(name: string): Buffer {
  return string(name === 'pg_catalog' ? '' : name);
}

function string(text: string): Buffer {
  return join(Buffer.from(text), u8(0));
}

function join(...parts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
}

function written(bytes: number, write: (buffer: Buffer) => void): Buffer {
  const buffer = Buffer.alloc(bytes);
  write(buffer);
  return buffer;
}

const u8 = (n: number) => written(1, (buffer) => buffer.writeUInt8(n));
const u16 = (n: number) => written(2, (buffer) => buffer.writeUInt16BE(n));
const u32 = (n: number) => written(4, (buffer) => buffer.writeUInt32BE(n));
const i32 = (n: number) => written(4, (buffer) => buffer.writeInt32BE(n));
const u64 = (n: bigint) => written(8, (buffer) => buffer.writeBigUInt64BE(n));
const i64 = (n: bigint) => written(8, (buffer) => buffer.writeBigInt64BE(n));
