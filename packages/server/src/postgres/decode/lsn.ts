/** Positions in the write-ahead log. As text they are what PostgreSQL prints; only as numbers can they be compared. */

/** `16/B374D848`: what `pg_lsn` looks like as text. Its text does not sort. */
export type Lsn = string;

export function parseLsn(text: Lsn): bigint {
  const parts = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (!parts) throw new TypeError(`not a position in the log: ${JSON.stringify(text)}`);
  return (BigInt(`0x${parts[1]}`) << 32n) | BigInt(`0x${parts[2]}`);
}

export function formatLsn(position: bigint): Lsn {
  return `${(position >> 32n).toString(16)}/${(position & 0xffff_ffffn).toString(16)}`.toUpperCase();
}
