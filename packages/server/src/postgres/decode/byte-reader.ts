/**
 * Reads what `pgoutput` writes: big-endian numbers, strings that end with a zero byte, values with their length in front.
 * Every read is bounded by the bytes that are there; nothing is allocated for a length before it was compared with them.
 */

/** Thrown by a reader, and turned into a result where a message is parsed. */
export class Malformed extends Error {
  readonly offset: number;
  readonly expected: string;

  constructor(offset: number, expected: string) {
    super(`at byte ${offset}: ${expected} expected`);
    this.name = 'Malformed';
    this.offset = offset;
    this.expected = expected;
  }
}

/** A byte order mark is part of a value, not of an encoding. */
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class ByteReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get offset(): number {
    return this.#offset;
  }

  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  byte(what: string): number {
    return this.#bytes.readUInt8(this.#take(1, what));
  }

  /** One byte that stands for one of these. */
  oneOf<T>(choices: ReadonlyMap<number, T>, what: string): T {
    const at = this.#offset;
    const choice = choices.get(this.byte(what));
    if (choice === undefined) throw new Malformed(at, what);
    return choice;
  }

  uint16(what: string): number {
    return this.#bytes.readUInt16BE(this.#take(2, what));
  }

  int32(what: string): number {
    return this.#bytes.readInt32BE(this.#take(4, what));
  }

  uint32(what: string): number {
    return this.#bytes.readUInt32BE(this.#take(4, what));
  }

  uint64(what: string): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8, what));
  }

  int64(what: string): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8, what));
  }

  /** Up to the next zero byte. */
  string(what: string): string {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end === -1) throw new Malformed(this.#bytes.length, `the zero byte at the end of ${what}`);
    const text = this.#text(this.#offset, end, what);
    this.#offset = end + 1;
    return text;
  }

  /** A length that promises no more than what is there. */
  length(what: string): number {
    const at = this.#offset;
    const length = this.int32(`the length of ${what}`);
    if (length < 0 || length > this.left) throw new Malformed(at, `a length of ${what} of at most ${this.left}`);
    return length;
  }

  text(length: number, what: string): string {
    const start = this.#take(length, what);
    return this.#text(start, start + length, what);
  }

  /** A copy: the message may be let go. */
  copy(length: number, what: string): Buffer {
    const start = this.#take(length, what);
    return Buffer.from(this.#bytes.subarray(start, start + length));
  }

  end(): void {
    if (this.left !== 0) throw new Malformed(this.#offset, 'the end of the message');
  }

  #take(length: number, what: string): number {
    if (length > this.left) throw new Malformed(this.#offset, what);
    const start = this.#offset;
    this.#offset += length;
    return start;
  }

  #text(start: number, end: number, what: string): string {
    const text = this.#bytes.toString('utf8', start, end);
    // toString replaces what is not UTF-8, which must not pass as a value. The replacement character itself may be one.
    if (!text.includes('\uFFFD')) return text;
    try {
      return strict.decode(this.#bytes.subarray(start, end));
    } catch {
      throw new Malformed(start, `UTF-8 in ${what}`);
    }
  }
}
