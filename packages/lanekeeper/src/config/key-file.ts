/** `sessions.keys: ./keys.json`: the public keys in a file of their own, so that rotation touches one small file. */
import { readFileSync } from 'node:fs';
import { resolve as resolvePath } from 'node:path';

export type KeyFile =
  | { readonly kind: 'read'; readonly keys: readonly { readonly kid: string }[] }
  | { readonly kind: 'broken'; readonly message: string; readonly hint: string };

const shapeHint =
  'A JWK set, {"keys": [{"kid": "ny-1", "kty": "EC", …}]}, or the list alone: `lanekeeper keys new` prints the entries.';

export function readKeyFile(directory: string, written: string): KeyFile {
  let text: string;
  try {
    text = readFileSync(resolvePath(directory, written), 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    return {
      kind: 'broken',
      message: `The key file ${written} cannot be read (${code})`,
      hint: 'The path is relative to this file.',
    };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which might be a private key.
    return { kind: 'broken', message: `The key file ${written} is not JSON`, hint: shapeHint };
  }
  const keys = Array.isArray(value) ? value : (value as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || !keys.every(hasKeyId))
    return { kind: 'broken', message: `The key file ${written} is not a list of keys`, hint: shapeHint };
  return { kind: 'read', keys };
}

function hasKeyId(key: unknown): key is { readonly kid: string } {
  return typeof key === 'object' && key !== null && typeof (key as { kid?: unknown }).kid === 'string';
}
