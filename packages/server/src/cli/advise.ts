/** `lanekeeper advise`: table by table, what is in the way of several data centers; `advise approach`: which of the five fits. */
import { Command } from 'commander';
import { type Configuration, createConfiguration } from 'lanekeeper/config';
import { adviseTables, guessTables, isAbout, sectionsOf } from '../advise/index.ts';
import { judgePlaces, judgeSchema, type Survey, surveyDatabase } from '../postgres/index.ts';
import { adviseApproachCommand } from './advise-approach.ts';
import { type Advice, printAdvice } from './advise-display.ts';
import { databaseFailure, openDatabaseCommand, unavailable } from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, SilentExit } from './output.ts';
import { accountTable, surveyUrl } from './survey.ts';

type AdviseOptions = {
  readonly database?: string;
  readonly accountTable?: string;
  readonly table?: string;
  readonly config?: string;
  readonly dc?: string;
  readonly strict?: boolean;
  readonly json?: boolean;
};

export function adviseCommand(context: CliContext): Command {
  return (
    new Command('advise')
      // `--json` after `approach` is that one's.
      .enablePositionalOptions()
      .description('say which tables can be written in several data centers, and what in the schema will hurt')
      .option('--database <url>', 'a database without a configuration; its tables are guessed, as `adopt` does')
      .option('--account-table <table>', 'with --database: the table whose rows are the accounts (default: guessed)')
      .option('--table <table>', 'say all about one table')
      .option('--config <file>', 'the configuration')
      .option('--dc <name>', 'the data center (default: LANEKEEPER_DC)')
      .option('--strict', 'exit code 1 when there is an error')
      .option('--json', 'print tables and findings as JSON')
      .addHelpText(
        'after',
        `
Connects as the owner, or as the URL says; reads catalogs in a read-only transaction and changes nothing.

Examples:
  $ lanekeeper advise --database postgres://shop_owner@db.example/shop
  $ lanekeeper advise --table orders
  $ lanekeeper advise approach --rto 30s --rpo 0 --distance 60ms --statements-per-page 12 --writes-per-page 3 --ability medium`,
      )
      .addCommand(adviseApproachCommand(context))
      .action((options: AdviseOptions) => advise(context, options))
  );
}

async function advise(context: CliContext, options: AdviseOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const advice =
    options.database === undefined
      ? await ofConfiguration(context, options)
      : await ofDatabase(options.database, options);
  const { tables, findings, declared, configuration } = advice;
  const name = options.table === undefined ? null : qualified(options.table);
  const chosen = name === null ? tables : tables.filter(({ table }) => table === name);
  if (chosen.length === 0 && name !== null)
    throw new CommandFailure(`There is no table ${name}.`, { exitCode: exitCodes.usage });
  const shown = name === null ? findings : findings.filter((found) => isAbout(found, { name }));
  printAdvice(output, { ...advice, tables: chosen, findings: shown }, name !== null);
  output.result({
    declared,
    approach: configuration.approach,
    tables: chosen.map(({ findings: own, ...table }) => ({ ...table, findings: own.map(({ code }) => code) })),
    findings: shown,
  });
  if (options.strict && shown.some(({ severity }) => severity === 'error')) throw new SilentExit(exitCodes.no);
}

function qualified(table: string): string {
  return table.includes('.') ? table : `public.${table}`;
}

async function ofConfiguration(context: CliContext, options: AdviseOptions): Promise<Advice> {
  if (options.accountTable !== undefined)
    throw new CommandFailure('`--account-table` is for --database: the configuration says which table it is.', {
      exitCode: exitCodes.usage,
    });
  const { configuration, connect } = await openDatabaseCommand(context, options);
  const { here } = configuration;
  const survey = await surveyDatabase(connect(here, 'owner'));
  if (survey.kind === 'unavailable') throw unavailable(survey, here, 'owner');
  if (survey.kind === 'unreadable') throw databaseFailure(`The database of ${here} cannot be read`, survey.error);
  const root = Object.values(configuration.tables).find((table) => table.root)?.name ?? null;
  return adviceOn(survey, configuration, root, true);
}

async function ofDatabase(url: string, options: AdviseOptions): Promise<Advice> {
  const survey = await surveyUrl(url);
  const root = accountTable(survey, options.accountTable);
  return adviceOn(survey, guessedConfiguration(survey, root), root, false);
}

function adviceOn(survey: Survey, configuration: Configuration, root: string | null, declared: boolean): Advice {
  const { catalog, hazards, statistics } = survey;
  const guess = guessTables(catalog, { dataCenter: configuration.here, root, statistics, hazards });
  const findings = [...judgeSchema(configuration, catalog, hazards), ...judgePlaces(configuration)];
  return { declared, configuration, findings, tables: adviseTables(catalog, configuration, guess, findings, declared) };
}

/** What `adopt` would write, with a second data center, so that it is judged as what it is to become. */
function guessedConfiguration({ catalog, hazards, statistics }: Survey, root: string | null): Configuration {
  const here = 'main';
  const guess = guessTables(catalog, { dataCenter: here, root, statistics, hazards });
  return createConfiguration(
    {
      cluster: 'advice',
      approach: guess.root === null ? 'active-passive' : 'full-active-active',
      dataCenters: {
        [here]: {
          place: here,
          faultDomain: here,
          database: 'postgres://main.example:5432/advice',
          url: 'https://main.advice.example',
        },
      },
      leases: { url: 'postgres://witness.example:5432/witness' },
      ...sectionsOf(guess, here),
    },
    { here },
  );
}
