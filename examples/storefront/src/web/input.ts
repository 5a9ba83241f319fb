/** Reads bodies and queries, which may be anything. A form and a JSON object are the same to it. */
import { maxQuantity } from '../cart/lines.ts';
import type { Fields } from '../shop/shop.ts';

export function fieldsOf(body: unknown): Fields {
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Fields) : {};
}

/** Trimmed; null when it is absent, empty, not text or longer than `maxLength`. */
export function text(fields: Fields, name: string, maxLength: number): string | null {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (typeof value !== 'string') return null;
  const trimmed = value.trim();
  // PostgreSQL's text takes every character but this one.
  return trimmed === '' || trimmed.length > maxLength || trimmed.includes('\0') ? null : trimmed;
}

/** A whole number from 0 to `maxQuantity`; null for anything else. */
export function quantity(value: unknown): number | null {
  if (typeof value === 'string' && !/^\s*\d{1,3}\s*$/.test(value)) return null;
  if (typeof value !== 'string' && typeof value !== 'number') return null;
  const number = Number(value);
  return Number.isInteger(number) && number >= 0 && number <= maxQuantity ? number : null;
}

/** Lower case, as it is stored. Only a message sent to it would prove more. */
export function email(fields: Fields): string | null {
  const value = text(fields, 'email', 254)?.toLowerCase() ?? null;
  return value !== null && /^[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+$/.test(value) ? value : null;
}

/** Not trimmed: a space may be part of it. */
export function password(fields: Fields): string | null {
  const value = Object.hasOwn(fields, 'password') ? fields.password : undefined;
  return typeof value === 'string' && value !== '' && value.length <= 1024 ? value : null;
}

export const skuPattern = /^[a-z0-9-]{1,64}$/;

/** Ids that the shop has drawn itself, or a client for its own requests. */
export const idPattern = /^[\w.:-]{1,128}$/;

/** What a client may call one of its requests: anything printable. It is its name, not ours. */
export const requestIdPattern = /^[\p{L}\p{N}\p{P}\p{S} ]{1,128}$/u;

/** A path of this shop to go to next; anything else is home. Nobody is sent to another host. */
export function localPath(value: unknown): string {
  return typeof value === 'string' && /^\/(?![/\\])[\w\-./?=&%]*$/.test(value) ? value : '/';
}
