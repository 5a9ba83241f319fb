/**
 * Assertions of the user's own: `--assert file.js`, a module whose default export is called when everything has settled.
 * It gets the history, what the databases hold and their addresses, and returns what is wrong, in words; nothing or an empty
 * list when all is well. What it throws is a finding as well.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Found, History } from './history.ts';

export type AssertionInput = {
  readonly history: History;
  readonly found: Found;
  /** By data center: a superuser's `postgres://` URL. */
  readonly databases: Readonly<Record<string, string>>;
  readonly drill: { readonly name: string; readonly seed: number };
};

export type Assertion = (input: AssertionInput) => unknown;

/** Throws when the file cannot be loaded or exports no function. */
export async function loadAssertion(directory: string, file: string): Promise<Assertion> {
  const module = (await import(pathToFileURL(resolve(directory, file)).href)) as { default?: unknown };
  if (typeof module.default !== 'function') throw new Error(`${file} has no function as its default export`);
  return module.default as Assertion;
}

export async function runAssertion(assertion: Assertion, input: AssertionInput): Promise<readonly string[]> {
  try {
    const said: unknown = await assertion(input);
    if (said === undefined || said === null) return [];
    return (Array.isArray(said) ? said : [said]).map(String);
  } catch (error) {
    return [String((error as Error).message ?? error)];
  }
}
