import { databaseProblem } from '../transaction.ts';

/** What a database said, or that it is gone; null: neither. */
export function lostDatabase(thrown: unknown): string | null {
  const problem = databaseProblem(thrown);
  if (problem !== null) return `a database refused: ${problem.message} [${problem.code}]`;
  const { code, message, severity } = thrown as { code?: unknown; message?: unknown; severity?: unknown };
  // FATAL is what a server says last, when it is shut down or somebody ends the session.
  const lost =
    severity === 'FATAL' ||
    String(code).startsWith('E') ||
    /^(Connection terminated|Client (was closed|has encountered))/.test(String(message));
  return lost ? `the connection to a database was lost (${String(message)})` : null;
}
