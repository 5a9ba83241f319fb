/** What the commands share that run until they are stopped: where to listen, what to log, when to end. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { parseDuration } from 'lanekeeper/config';
import { type CliContext, CommandFailure, exitCodes } from './output.ts';

export type ListenAddress = { readonly host: string; readonly port: number };

/** `HOST:PORT`, `[::1]:PORT` */
export function address(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new InvalidArgumentError('Write HOST:PORT, for example 127.0.0.1:8080.');
  return { host: (match[1] ?? match[2]) as string, port };
}

export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw new InvalidArgumentError('A number and a unit, for example 20s.');
  return ms;
}

export function cannotListen(error: unknown, { host, port }: ListenAddress): never {
  const { syscall, code } = error as NodeJS.ErrnoException;
  if (syscall !== 'listen') throw error;
  throw new CommandFailure(`Cannot listen on ${host}:${port} (${code}).`, { exitCode: exitCodes.unreachable });
}

/** One line of JSON on stderr for each event. */
export function jsonLog({ stderr }: CliContext) {
  return (level: string, event: string, details: Readonly<Record<string, unknown>> = {}): void => {
    stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...details })}\n`);
  };
}

/** Until SIGTERM or SIGINT; the same signal once more ends the process at once. */
export async function untilStopped(): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = (): void => {
      process.off('SIGTERM', stop).off('SIGINT', stop);
      resolve();
    };
    process.on('SIGTERM', stop).on('SIGINT', stop);
  });
}

export type TlsOptions = { readonly tlsCert?: string; readonly tlsKey?: string };

/** `--tls-cert` and `--tls-key` */
export function tlsOf(
  { directory }: CliContext,
  { tlsCert, tlsKey }: TlsOptions,
): { readonly tls?: { readonly cert: string; readonly key: string } } {
  if (tlsCert === undefined && tlsKey === undefined) return {};
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new CommandFailure('--tls-cert and --tls-key belong together.', { exitCode: exitCodes.usage });
  }
  return { tls: { cert: pem(directory, tlsCert), key: pem(directory, tlsKey) } };
}

function pem(directory: string, file: string): string {
  try {
    return readFileSync(resolve(directory, file), 'utf8');
  } catch (error) {
    throw new CommandFailure(`${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`, {
      exitCode: exitCodes.configuration,
    });
  }
}
