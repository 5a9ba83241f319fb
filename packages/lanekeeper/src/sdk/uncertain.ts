/**
 * When a connection breaks while PostgreSQL may have been committing, nobody knows whether it did. Such an outcome is called
 * uncertain (R6), so that the application asks for the outcome record instead of doing the work twice.
 */

/** PostgreSQL's transaction status as the last ReadyForQuery reported it. */
export type TransactionStatus = 'I' | 'T' | 'E' | null;

/** Statements that, on their own, change nothing that outlives them. `SELECT` may call a function that writes: not here. */
const harmless =
  /^(?:begin|start|savepoint|release|rollback|abort|set|reset|show|listen|unlisten|discard|deallocate|close|fetch)\b/i;

const commits = /^(?:commit|end|prepare\s+transaction)\b/i;

const leading = /^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/;

/**
 * Whether losing the connection during this statement leaves it open if something was committed. In a transaction only its end
 * is in question: everything before it is rolled back for certain.
 */
export function mayCommit(text: string, status: TransactionStatus): boolean {
  const statements = text.split(';').map((statement) => statement.replace(leading, ''));
  if (statements.some((statement) => commits.test(statement))) return true;
  if (status === 'T' || status === 'E') return false;
  return statements.some((statement) => statement !== '' && !harmless.test(statement));
}

/**
 * Whether this error says only that the connection is gone, not what became of the statement. Errors that PostgreSQL raised in
 * the statement have a SQLSTATE and mean that it was rolled back, except for the few listed here.
 */
export function leavesOutcomeOpen(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  const severity = (error as { severity?: unknown } | null)?.severity;
  if (severity === undefined || typeof code !== 'string') return true;
  // 08xxx connection exceptions (a pooler's, too), 40003 statement completion unknown, 57P01 to 57P03 shutdown and crash: the
  // commit may already have been written, for example while it waited for a synchronous standby.
  return /^(?:08|40003|57P0[123])/.test(code);
}
