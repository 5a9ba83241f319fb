/**
 * The fence's errors as the application meets them. A refusal keeps PostgreSQL's own error as `cause`; libraries in between wrap
 * it in their own, so `findLanekeeperError` looks through those.
 */
import { type ErrorDetails, errorCodeOf, errors, LanekeeperError } from '../model/index.ts';

/** What is known of the work that met the error, to fill in what the database did not say. */
export type RefusalContext = Pick<ErrorDetails, 'account' | 'dataCenter' | 'requestId'>;

type Fields = Readonly<Record<string, unknown>>;

/** Where libraries keep the error they wrap: Drizzle, TypeORM, Sequelize, MikroORM, Prisma, AggregateError. */
const wrappedIn = [
  'cause',
  'original',
  'parent',
  'driverError',
  'previous',
  'originalError',
  'driverAdapterError',
  'meta',
];

/** Deep enough for any library on any other, and an end for chains that loop. */
const maxDepth = 12;

/**
 * The refusal inside `error`, however many libraries have wrapped it, or undefined when it is something else. Also recognises the
 * fence's SQLSTATEs where a library kept only PostgreSQL's fields.
 */
export function findLanekeeperError(error: unknown): LanekeeperError | undefined {
  let level: unknown[] = [error];
  const seen = new Set<unknown>();
  for (let depth = 0; depth < maxDepth && level.length > 0; depth++) {
    const next: unknown[] = [];
    for (const candidate of level) {
      if (typeof candidate !== 'object' || candidate === null || seen.has(candidate)) continue;
      seen.add(candidate);
      const found = asLanekeeperError(candidate) ?? translateRefusal(candidate);
      if (found !== undefined) return found;
      const fields = candidate as Fields;
      for (const key of wrappedIn) next.push(fields[key]);
      if (Array.isArray(fields.errors)) next.push(...(fields.errors as unknown[]));
    }
    level = next;
  }
  return undefined;
}

/** A `LanekeeperError` for an error of PostgreSQL that the fence raised; undefined for all others. */
export function translateRefusal(error: unknown, context: RefusalContext = {}): LanekeeperError | undefined {
  if (typeof error !== 'object' || error === null || error instanceof LanekeeperError) return undefined;
  const fields = error as Fields;
  const code = sqlstateOf(fields);
  const known = code === undefined ? undefined : errorCodeOf(code);
  if (known === undefined) return undefined;
  const detail = parseDetail(fields.detail);
  const message = firstText(fields.originalMessage, fields.message);
  const details: Record<string, unknown> = { ...context };
  if (typeof detail.account === 'string') details.account = detail.account;
  if (typeof detail.home === 'string') details.home = detail.home;
  if (typeof detail.dc === 'string') details.dataCenter = detail.dc;
  if (typeof detail.table === 'string') details.table = detail.table;
  return new LanekeeperError(known, message, details as ErrorDetails, { cause: error });
}

/** Another copy of this package may have made it: what counts is the name and a code of ours. */
function asLanekeeperError(candidate: object): LanekeeperError | undefined {
  if (candidate instanceof LanekeeperError) return candidate;
  const { name, code } = candidate as { name?: unknown; code?: unknown };
  const ours = name === 'LanekeeperError' && typeof code === 'string' && Object.hasOwn(errors, code);
  return ours ? (candidate as LanekeeperError) : undefined;
}

function sqlstateOf(fields: Fields): string | undefined {
  return [fields.code, fields.originalCode, fields.sqlState].find(
    (value): value is string => typeof value === 'string' && value.startsWith('LK'),
  );
}

function firstText(...values: unknown[]): string | undefined {
  return values.find((value): value is string => typeof value === 'string' && value !== '');
}

/** The fence writes JSON into DETAIL; anything else there is not ours and says nothing. */
function parseDetail(detail: unknown): Fields {
  if (typeof detail !== 'string' || !detail.startsWith('{')) return {};
  try {
    return JSON.parse(detail) as Fields;
  } catch {
    return {};
  }
}
