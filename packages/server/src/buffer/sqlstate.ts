/** What an error of PostgreSQL says about a write. */

/**
 * True when PostgreSQL found fault with the write itself. A lost connection, a server that stops, a deadlock, a full disk or a
 * lock that was not given say nothing about the write, so that it is tried again for as long as it takes (PostgreSQL, Appendix A).
 */
export function isFault(error: unknown): error is Error & { readonly code: string } {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  return typeof code === 'string' && severity === 'ERROR' && /^[0-9A-Z]{5}$/.test(code) && !transient.test(code);
}

const transient = /^(08|40|53|55|57|58|XX)/;

export function messageOf(error: unknown): string {
  const { message } = error as { message?: unknown };
  return typeof message === 'string' && message !== '' ? message : String(error);
}
