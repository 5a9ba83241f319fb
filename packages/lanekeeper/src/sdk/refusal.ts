/**
 * The fence's errors as the application meets them. A refusal keeps PostgreSQL's own error as `cause`; libraries in between wrap
 * it in their own, so `findLanekeeperError` looks through those.
 */
import { type ErrorCode, type ErrorDetails, errorCodeOf, errors, LanekeeperError } from '../model/index.ts';

/** What is known of the work that met the error, to fill in what the database did not say. */
export type RefusalContext = Pick<ErrorDetails, 'account' | 'home' | 'dataCenter' | 'requestId'>;

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
 * The refusal inside `error`, however many libraries have wrapped it, or undefined when it is something else. A library may
 * have kept only its code and detail: then it is put together again from those.
 */
export function findLanekeeperError(error: unknown): LanekeeperError | undefined {
  let level: unknown[] = [error];
  const seen = new Set<unknown>();
  for (let depth = 0; depth < maxDepth && level.length > 0; depth++) {
    const next: unknown[] = [];
    for (const candidate of level) {
      if (typeof candidate !== 'object' || candidate === null || seen.has(candidate)) continue;
      seen.add(candidate);
      const found = asLanekeeperError(candidate) ?? rebuild(candidate);
      if (found !== undefined) return found;
      const fields = candidate as Fields;
      for (const key of wrappedIn) next.push(fields[key]);
      if (Array.isArray(fields.errors)) next.push(...(fields.errors as unknown[]));
    }
    level = next;
  }
  return undefined;
}

/** What the fence raised, as `lanekeeper/pg` throws it; undefined for all other errors. */
export function translateRefusal(error: unknown, context: RefusalContext = {}): DatabaseRefusal | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { code, message, detail } = error as Fields;
  const known = typeof code === 'string' ? errorCodeOf(code) : undefined;
  if (known === undefined) return undefined;
  return new DatabaseRefusal(known, textOr(message), { ...context, ...detailsIn(detail) }, error);
}

/**
 * A refusal met by a connection. It has what libraries look for in an error of PostgreSQL, because some (Prisma) pass on nothing else:
 * `detail` says in JSON what `details` says.
 */
export class DatabaseRefusal extends LanekeeperError {
  readonly severity: string;
  readonly detail: string;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string | undefined, details: ErrorDetails, cause: unknown) {
    super(code, message, details, { cause });
    const { severity, hint } = (cause ?? {}) as Fields;
    this.severity = textOr(severity) ?? 'ERROR';
    this.hint = textOr(hint);
    const { dataCenter, ...rest } = details;
    this.detail = JSON.stringify({ ...rest, dc: dataCenter });
  }
}

/** From what a library kept of a refusal: its code, ours or PostgreSQL's, and perhaps the rest. */
function rebuild(candidate: object): LanekeeperError | undefined {
  const fields = candidate as Fields;
  for (const code of [fields.code, fields.originalCode, fields.sqlState]) {
    if (typeof code !== 'string') continue;
    const known = Object.hasOwn(errors, code) ? (code as ErrorCode) : errorCodeOf(code);
    if (known === undefined) continue;
    const message = textOr(fields.originalMessage) ?? textOr(fields.message);
    return new LanekeeperError(known, message, detailsIn(fields.detail), { cause: candidate });
  }
  return undefined;
}

/** Another copy of this package may have made it: what counts is the name and a code of ours. */
function asLanekeeperError(candidate: object): LanekeeperError | undefined {
  if (candidate instanceof LanekeeperError) return candidate;
  const { name, code } = candidate as { name?: unknown; code?: unknown };
  const ours = name === 'LanekeeperError' && typeof code === 'string' && Object.hasOwn(errors, code);
  return ours ? (candidate as LanekeeperError) : undefined;
}

function textOr(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** The fence writes JSON into DETAIL; anything else there is not ours and says nothing. */
function detailsIn(detail: unknown): ErrorDetails {
  if (typeof detail !== 'string' || !detail.startsWith('{')) return {};
  let said: Fields;
  try {
    said = JSON.parse(detail) as Fields;
  } catch {
    return {};
  }
  const names = {
    account: said.account,
    home: said.home,
    dataCenter: said.dc,
    table: said.table,
    requestId: said.requestId,
  };
  const given = Object.fromEntries(Object.entries(names).filter(([, value]) => typeof value === 'string'));
  return Number.isSafeInteger(said.term) ? { ...given, term: said.term as number } : given;
}
