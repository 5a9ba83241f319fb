/**
 * Gives a copied cluster a system identifier of its own. Clusters are copied from one template because `initdb` takes
 * most of a second; but a data center is told from its restored copy by this number, so copies must not share it.
 *
 * It stands in two places: at the start of `global/pg_control` (protected by a CRC-32C, the structure's last member)
 * and in the long header of every WAL segment's first page. PostgreSQL's documentation of the layout is its own source:
 * `src/include/catalog/pg_control.h` and `src/include/access/xlog_internal.h`.
 */
import { randomBytes } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of `pg_control` that are ever used; the rest of the file is zeros. */
const controlBytes = 512;
/** `XLogLongPageHeaderData`: the identifier follows the short header of 24 bytes (aligned). */
const walIdentifierOffset = 24;

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli), as PostgreSQL computes it. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crcTable[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Where the checksum stands differs between versions: it is the one place where the bytes before it add up. */
function checksumOffset(control: Buffer): number {
  for (let offset = 16; offset + 4 <= controlBytes; offset += 4) {
    const stored = control.readUInt32LE(offset);
    if (stored !== 0 && stored === crc32c(control.subarray(0, offset))) return offset;
  }
  throw new Error('global/pg_control has no valid checksum: this is not a cleanly stopped cluster');
}

/** Rewrites the identifier of a cluster that is stopped. Returns the new one. */
export async function giveNewIdentifier(dataFolder: string): Promise<bigint> {
  const control = await open(join(dataFolder, 'global', 'pg_control'), 'r+');
  // As initdb does: seconds in the upper half, so that identifiers look like those of any other cluster.
  const identifier = (BigInt(Math.floor(Date.now() / 1000)) << 32n) | BigInt(randomBytes(4).readUInt32LE());
  let previous: bigint;
  try {
    const bytes = Buffer.alloc(controlBytes);
    await control.read(bytes, 0, controlBytes, 0);
    const offset = checksumOffset(bytes);
    previous = bytes.readBigUInt64LE(0);
    bytes.writeBigUInt64LE(identifier, 0);
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, offset)), offset);
    await control.write(bytes, 0, offset + 4, 0);
    await control.sync();
  } finally {
    await control.close();
  }
  const walFolder = join(dataFolder, 'pg_wal');
  for (const name of await readdir(walFolder)) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue;
    const segment = await open(join(walFolder, name), 'r+');
    try {
      const bytes = Buffer.alloc(8);
      await segment.read(bytes, 0, 8, walIdentifierOffset);
      if (bytes.readBigUInt64LE() !== previous) continue;
      bytes.writeBigUInt64LE(identifier);
      await segment.write(bytes, 0, 8, walIdentifierOffset);
    } finally {
      await segment.close();
    }
  }
  return identifier;
}
