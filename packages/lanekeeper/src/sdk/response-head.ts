/** Adding to a response's headers at the last moment, whoever writes them and however: implicitly, at once, or as a stream. */
import type { ServerResponse } from 'node:http';

export type LastHeaders = {
  /** Added to the Set-Cookie headers that are there. */
  readonly cookies: readonly string[];
  /** Set unless they are there already. */
  readonly set: Readonly<Record<string, string>>;
};

type HeadArguments = [statusCode: number, ...rest: unknown[]];

/** `last` is called once, with the status that is about to be sent. */
export function beforeHead(response: ServerResponse, last: (status: number) => LastHeaders): void {
  const writeHead = response.writeHead as unknown as (...args: HeadArguments) => ServerResponse;
  let done = false;
  const replacement = (...args: HeadArguments): ServerResponse => {
    if (done || response.headersSent) return writeHead.apply(response, args);
    done = true;
    const [status, ...rest] = args;
    const given = rest.find((each) => typeof each === 'object' && each !== null);
    // Headers given here would replace ours of the same name, so they go through the same door.
    if (given !== undefined) applyHeaders(response, given as object);
    const { cookies, set } = last(status);
    if (cookies.length > 0) response.setHeader('set-cookie', [...presentCookies(response), ...cookies]);
    for (const [name, value] of Object.entries(set)) {
      if (!response.hasHeader(name)) response.setHeader(name, value);
    }
    const reason = rest.filter((each) => typeof each === 'string');
    return writeHead.apply(response, [status, ...reason]);
  };
  response.writeHead = replacement as unknown as ServerResponse['writeHead'];
}

/** A response that ends in one piece waits for `wait`, before its head; one that has begun does not. */
export function beforeEnd(response: ServerResponse, wait: () => Promise<void> | null): void {
  const end = response.end as (...given: unknown[]) => ServerResponse;
  let ending = false;
  const replacement = (...given: unknown[]): ServerResponse => {
    if (ending) return response;
    const waiting = response.headersSent ? null : wait();
    if (waiting === null) return end.apply(response, given);
    ending = true;
    void waiting.finally(() => end.apply(response, given));
    return response;
  };
  response.end = replacement as ServerResponse['end'];
}

/** As `writeHead` itself does: an object's entries replace what is there, and so do a flat list's, but its own may repeat. */
function applyHeaders(response: ServerResponse, given: object): void {
  if (!Array.isArray(given)) {
    for (const [name, value] of Object.entries(given)) {
      if (value !== undefined) response.setHeader(name, value);
    }
    return;
  }
  const flat = (given as unknown[]).flat() as (string | number)[];
  const values = new Map<string, string[]>();
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const name = String(flat[i]);
    values.set(name, [...(values.get(name) ?? []), String(flat[i + 1])]);
  }
  for (const [name, list] of values) response.setHeader(name, list.length === 1 ? list[0]! : list);
}

function presentCookies(response: ServerResponse): string[] {
  const present = response.getHeader('set-cookie');
  if (present === undefined) return [];
  return Array.isArray(present) ? present : [String(present)];
}
