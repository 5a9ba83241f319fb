/** What `advise` and `adopt` know of a database: by its URL, or by the configuration that there is. */
import { connect, type Survey, surveyDatabase } from '../postgres/index.ts';
import { databaseFailure } from './database-command.ts';
import { CommandFailure, exitCodes } from './output.ts';

const timeoutMs = 60_000;

/** Reads the catalogs behind a connection URL. Ends the command when that cannot be. */
export async function surveyUrl(url: string): Promise<Survey> {
  if (!/^postgres(ql)?:\/\//.test(url))
    throw new CommandFailure('`--database` is a connection URL: postgres://user@host:port/database.', {
      exitCode: exitCodes.usage,
    });
  const result = await surveyDatabase((applicationName) =>
    connect(url, { applicationName, statementTimeoutMs: timeoutMs }),
  );
  if (result.kind === 'unavailable')
    throw new CommandFailure(`${result.message}.`, {
      exitCode: exitCodes.unreachable,
      hint: 'A password may stand in the URL, or in PGPASSWORD.',
    });
  if (result.kind === 'unreadable') throw databaseFailure('The database cannot be read', result.error);
  return result;
}

/** `customers` → `public.customers`; must be a table of the database with a key of one column. */
export function accountTable(survey: Survey, named: string | undefined): string | null {
  if (named === undefined) return null;
  const name = named.includes('.') ? named : `public.${named}`;
  const table = survey.catalog.tables.get(name);
  if (table?.primaryKey.length === 1) return name;
  const candidates = [...survey.catalog.tables.values()]
    .filter((one) => one.primaryKey.length === 1)
    .map((one) => one.name);
  throw new CommandFailure(
    table ? `${name} has no primary key of one column, which would name an account.` : `There is no table ${name}.`,
    {
      exitCode: exitCodes.usage,
      hint: `There are: ${candidates.slice(0, 20).join(', ')}${candidates.length > 20 ? ', …' : ''}.`,
    },
  );
}
