/** The shop behind a backend, which may be in another data center: `lanekeeper/frontend` finds the right one. */
import type { Backend, BackendInit } from 'lanekeeper/frontend';
import { errors, LanekeeperError } from 'lanekeeper/model';
import { type Call, calls } from './calls.ts';
import type { Fields, Shop } from './shop.ts';

export function remoteShop(backend: Backend): Shop {
  const entries = Object.entries(calls).map(([name, call]) => [
    name,
    (fields: Fields = {}) => ask(backend, call, fields),
  ]);
  return Object.fromEntries(entries) as Shop;
}

async function ask(backend: Backend, { method, path, here }: Call, fields: Fields): Promise<unknown> {
  const at: Pick<BackendInit, 'at'> = here ? { at: 'here' } : {};
  const response =
    method === 'GET'
      ? await backend.fetch(`${path}${query(fields)}`, at)
      : await backend.fetch(path, {
          ...at,
          method,
          body: JSON.stringify(fields),
          headers: { 'content-type': 'application/json' },
        });
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body;
  throw refusalIn(body) ?? new Error(`The backend answered ${method} ${path} with status ${response.status}.`);
}

/** Of a GET every field is a text. */
function query(fields: Fields): string {
  const written = Object.entries(fields).filter((field): field is [string, string] => typeof field[1] === 'string');
  return written.length === 0 ? '' : `?${new URLSearchParams(written)}`;
}

/** What the backend refused is thrown here as it was thrown there. */
function refusalIn(body: unknown): LanekeeperError | null {
  const { error } = (body ?? {}) as { error?: Readonly<Record<string, unknown>> };
  const code = error?.code;
  if (typeof code !== 'string' || !Object.hasOwn(errors, code)) return null;
  const text = (name: string) => (typeof error?.[name] === 'string' ? { [name]: error[name] as string } : {});
  // When to come again is for the pages to say, as it is in one process.
  const details = { ...text('home'), ...text('dataCenter'), ...text('requestId') };
  return new LanekeeperError(code as keyof typeof errors, text('message').message, details);
}
