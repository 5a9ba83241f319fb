import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeMessage } from '../../../../../test/support/pgoutput-encoder.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import { type PgoutputMessage, unchanged } from './messages.ts';
import { parseMessage } from './parse.ts';

const u32 = fc.nat(0xffff_ffff);
const lsn = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const time = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
const text = fc.string({ unit: 'binary' });
/** In the protocol a name ends with a zero byte, and an empty schema means pg_catalog. */
const name = text.map((one) => one.replaceAll('\0', ''));
const schema = fc.oneof(
  name.filter((one) => one !== ''),
  fc.constant('pg_catalog'),
);
const bytes = fc.uint8Array().map((array) => Buffer.from(array));
const tuple = fc.array(fc.oneof(text, fc.constant(null), fc.constant(unchanged), bytes));
const old = fc.record({ is: fc.constantFrom('key' as const, 'row' as const), tuple });
const column = fc.record({
  name,
  typeOid: u32,
  typeModifier: fc.integer(),
  inIdentity: fc.boolean(),
});
const ends = { commitLsn: lsn, endLsn: lsn, committedAtUs: time };

/** Every kind of message; `xid` is there in a stream. */
function messages(xid: fc.Arbitrary<number | null>): fc.Arbitrary<PgoutputMessage> {
  const of = <Kind extends PgoutputMessage['kind']>(
    kind: Kind,
    fields: { [F in Exclude<keyof Extract<PgoutputMessage, { kind: Kind }>, 'kind'>]: fc.Arbitrary<unknown> },
  ) => fc.record({ kind: fc.constant(kind), ...(fields as object) }) as unknown as fc.Arbitrary<PgoutputMessage>;
  return fc.oneof(
    of('begin', { xid: u32, commitLsn: lsn, committedAtUs: time }),
    of('commit', ends),
    of('origin', { lsn, name }),
    of('relation', {
      xid,
      oid: u32,
      schema,
      name,
      identity: fc.constantFrom('default', 'nothing', 'full', 'index'),
      columns: fc.array(column),
    }),
    of('type', { xid, oid: u32, schema, name }),
    of('insert', { xid, oid: u32, new: tuple }),
    of('update', { xid, oid: u32, old: fc.option(old), new: tuple }),
    of('delete', { xid, oid: u32, old }),
    of('truncate', { xid, oids: fc.array(u32), cascade: fc.boolean(), restartIdentity: fc.boolean() }),
    of('message', { xid, transactional: fc.boolean(), lsn, prefix: name, content: bytes }),
    of('stream-start', { xid: u32, firstSegment: fc.boolean() }),
    of('stream-stop', {}),
    of('stream-commit', { xid: u32, ...ends }),
    of('stream-abort', { xid: u32, subxid: u32, aborted: fc.option(fc.record({ lsn, atUs: time })) }),
  );
}

const sent = fc
  .boolean()
  .chain((inStream) => messages(inStream ? u32 : fc.constant(null)).map((message) => ({ inStream, message })));

/** Whatever the bytes: a message that says exactly what they say, or where they stop making sense. */
function mustHold(input: Buffer, inStream: boolean): void {
  const result = parseMessage(input, { inStream });
  if (result.kind === 'parsed') expect(encodeMessage(result.message).equals(input)).toBe(true);
  else {
    expect(result.offset).toBeGreaterThanOrEqual(0);
    expect(result.offset).toBeLessThanOrEqual(input.length);
    expect(result.expected).not.toBe('');
  }
}

describe('fuzz', () => {
  test('every message comes back as it was', () => {
    fc.assert(
      fc.property(sent, ({ inStream, message }) => {
        expect(parseMessage(encodeMessage(message), { inStream })).toEqual({ kind: 'parsed', message });
      }),
      { numRuns: 2_000 },
    );
  });

  test('a message that is cut short anywhere, or has more behind it, is malformed', () => {
    fc.assert(
      fc.property(sent, fc.nat(), ({ inStream, message }, at) => {
        const whole = encodeMessage(message);
        const short = whole.subarray(0, at % whole.length);
        // The only message that may also end earlier.
        const isWhole = message.kind === 'stream-abort' && short.length === 9;
        expect(parseMessage(short, { inStream }).kind).toBe(isWhole ? 'parsed' : 'malformed');
        mustHold(short, inStream);
        const long = Buffer.concat([whole, Buffer.from([at % 256])]);
        expect(parseMessage(long, { inStream }).kind).toBe('malformed');
      }),
      { numRuns: 2_000 },
    );
  });

  test('flipped bits are noticed, or say something else that can be said', () => {
    fc.assert(
      fc.property(sent, fc.array(fc.nat(), { minLength: 1, maxLength: 4 }), ({ inStream, message }, flips) => {
        const flipped = encodeMessage(message);
        for (const flip of flips) {
          const index = Math.floor(flip / 8) % flipped.length;
          flipped.writeUInt8(flipped.readUInt8(index) ^ (1 << (flip % 8)), index);
        }
        mustHold(flipped, inStream);
      }),
      { numRuns: 4_000 },
    );
  });

  test('any bytes', () => {
    const start = fc.constantFrom(...'BCORYIUDTMSEcA').map((letter) => Buffer.from(letter));
    fc.assert(
      fc.property(start, bytes, fc.boolean(), (first, rest, inStream) => {
        mustHold(Buffer.concat([first, rest]), inStream);
        mustHold(rest, inStream);
      }),
      { numRuns: 4_000 },
    );
  });
});

describe('malformed: the place and what should be there', () => {
  test.each([
    ['nothing', '', 0, 'a type of message'],
    ['a prepared transaction', '62', 0, 'a type of message that is known'],
    ['an unknown type', 'ff', 0, 'a type of message that is known'],
    ['a commit with flags', `43 01${' 00'.repeat(24)}`, 1, 'no flags'],
    ['a name without an end', '4f 0000000000000001 6162', 11, 'the zero byte at the end of an origin name'],
    ['a name that is not UTF-8', '4f 0000000000000001 61ff00', 9, 'UTF-8 in an origin name'],
    ['a relation with an unknown identity', '52 00000001 7000 7400 78 0000', 9, 'a replica identity'],
    ['an insert without its tuple', '49 00000001', 5, 'a new tuple'],
    ['an update with two old tuples', '55 00000001 4b 0000 4b 0000', 8, 'a new tuple'],
    ['a delete of a new tuple', '44 00000001 4e 0000', 5, 'a key or an old tuple'],
    ['a value of an unknown kind', '49 00000001 4e 0001 78', 8, 'a kind of value'],
    ['a negative length', '49 00000001 4e 0001 74 ffffffff', 9, 'a length of a value of at most 0'],
    ['a length of 2 GiB', '49 00000001 4e 0001 74 7fffffff 61', 9, 'a length of a value of at most 1'],
    ['65,535 values that are not there', '49 00000001 4e ffff 6e', 9, 'a kind of value'],
    ['4,294,967,295 relations that are not there', '54 ffffffff 00 00000001', 10, 'the id of a relation'],
    ['unknown options of TRUNCATE', '54 00000000 04', 5, 'options of TRUNCATE that are known'],
  ])('%s', (_what, hex, offset, expected) => {
    expect(parseMessage(Buffer.from(hex.replaceAll(' ', ''), 'hex'))).toEqual({ kind: 'malformed', offset, expected });
  });

  test('values may be what a careless reader loses', () => {
    const values = ['', '\0', '\uFEFFmarked', '\uFFFD', '\u{1F600}', 'a\u0301'];
    const message: PgoutputMessage = { kind: 'insert', xid: null, oid: 1, new: values };
    expect(parseMessage(encodeMessage(message))).toEqual({ kind: 'parsed', message });
  });
});

test('positions as text and as numbers', () => {
  expect(parseLsn('16/B374D848')).toBe(0x16_b374_d848n);
  expect(formatLsn(0x16_0000_000an)).toBe('16/A');
  fc.assert(
    fc.property(lsn, (one) => {
      expect(parseLsn(formatLsn(one))).toBe(one);
    }),
  );
  for (const wrong of ['', '16', '16/', '/1', '123456789/0', '0/g', ' 0/0'])
    expect(() => parseLsn(wrong)).toThrow(TypeError);
});
