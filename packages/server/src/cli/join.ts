/** `lanekeeper join`: seeds a data center from another one. Shows first what would be lost, and does it with --yes. */
import { Command } from 'commander';
import { databaseUrl, loadConfiguration, type RoleName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import {
  connect,
  type Inspection,
  inspectJoin,
  type JoinEvent,
  type JoinResult,
  type JoinSides,
  joinDataCenter,
} from '../postgres/index.ts';
import { count, type DatabaseOptions, unavailable } from './database-command.ts';
import { placeOfCommand } from './lab-file.ts';
import { openLeaseStore } from './lease-store.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';

type JoinOptions = Omit<DatabaseOptions, 'dc'> & {
  readonly from: string;
  readonly fromConfig?: string;
  readonly discard?: boolean;
  readonly yes?: boolean;
};

export function joinCommand(context: CliContext): Command {
  return new Command('join')
    .description(
      'seed a data center from another one: its disk is gone, it was restored, a slot was lost, or it is new',
    )
    .argument('<dc>', 'the data center that is seeded')
    .requiredOption('--from <dc>', 'the one that lives')
    .option('--config <file>', 'the configuration of the one that is seeded')
    .option('--from-config <file>', 'that of the one that lives, where it has another')
    .option('--discard', 'do not keep what only the one that is seeded has')
    .option('--yes', 'do it; without, it is only shown what would be lost')
    .option('--json', 'print what is known, or each step, as JSON')
    .addHelpText(
      'after',
      `
Everything that both hold is emptied in the one and copied from the other, which goes on selling. Then it is read the other
way, compared, and the lease store lets it ask for a lease again, as a new generation. Accounts stay where they are.

What only an intact database has goes to the ledger first (\`lanekeeper stranded list\`): what was never sent, out of its log, or
where the log was lost every row that differs. An older copy, or one that never was a data center, is emptied as it is.

It must have been taken over, or never have been a data center, and its agents must be stopped: start them afterwards. After
a new initdb: the roles, the application's schema, then this. Whatever ends it, run it again: it goes on from where it was.

Connects to both as owner, agent and replication, and to the lease store.
Exit code 0: shown, or joined. 1: refused, or not finished, and why. 4: something could not be reached.`,
    )
    .action((dc: string, options: JoinOptions) => runJoin(context, dc, options));
}

async function runJoin(context: CliContext, dc: string, options: JoinOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { from } = options;
  const target = await openSide(context, dc, options.config);
  const source = await openSide(context, from, options.fromConfig ?? options.config);
  if (dc === from) throw new CommandFailure(`${dc} cannot be seeded from itself.`, { exitCode: exitCodes.usage });
  // Both are reached as the seeded one reaches them: that is where this runs.
  const connectTo = (name: DataCenterName) => (role: RoleName) => (applicationName: string) =>
    connect(databaseUrl(target.configuration, name, role, target.env), { applicationName });
  const sides: JoinSides = {
    target: { ...target, connect: connectTo(dc) },
    source: { ...source, connect: connectTo(from) },
  };
  const store = openLeaseStore(target.configuration, target.env);
  try {
    const inspection = await inspectJoin({ ...sides, store });
    if (inspection.kind === 'unavailable') throw unavailable(inspection, inspection.dataCenter, inspection.role);
    if (inspection.kind === 'refused') throw new CommandFailure(`${inspection.why}.`, { hint: inspection.hint });
    printInspection(output, inspection, dc, from, options.discard === true);
    if (options.yes !== true) {
      output.result({ dataCenter: dc, from, ...inspection });
      output.line('Nothing was changed. With --yes it is done.');
      return;
    }
    const progress = progressOf(context, output);
    const result = await joinDataCenter({ ...sides, store, discard: options.discard === true, onEvent: progress.show });
    progress.clear();
    output.result({ dataCenter: dc, from, ...result });
    printResult(output, result, dc, from);
  } finally {
    await store.close();
  }
}

async function openSide(context: CliContext, dc: DataCenterName, config: string | undefined) {
  const { env, config: file } = placeOfCommand(context, { config, dc });
  const { configuration } = await loadConfiguration({ file, env, directory: context.directory });
  return { configuration, env };
}

function printInspection(
  output: Output,
  { resumes, takenOver, tables, more, whole }: Extract<Inspection, { kind: 'ready' }>,
  dc: string,
  from: string,
  discard: boolean,
): void {
  const { colors } = output;
  if (takenOver !== null) output.line(`${dc} was taken over by ${from} in term ${takenOver}.`);
  else output.line(`${dc} has never had a lease.`);
  if (resumes !== null && resumes !== 'begun' && resumes !== 'kept') {
    output.line(`An earlier run came as far as "${resumes}": this goes on from there.`);
    return;
  }
  const full = tables.filter(({ rows }) => rows !== null && rows > 0);
  const rows = full.reduce((sum, table) => sum + (table.rows ?? 0), 0);
  if (rows === 0) return output.line(`Its tables are empty.`);
  output.line(`${count(rows, 'row')} in ${count(full.length, 'table')} are removed there, and copied from ${from}.`);
  const losing = tables.filter(({ lost }) => lost > 0);
  for (const { table, lost } of losing) {
    output.line(`${colors.yellow('!')} ${table}: ${count(lost, 'row')} that ${from} does not have, or not like this`);
  }
  if (more) output.line(`${colors.yellow('!')} and more: not everything could be compared`);
  if (losing.length > 0) {
    output.line(
      whole && !discard
        ? '  They are kept for a decision: `lanekeeper stranded list`. Rows that belong to no account are not.'
        : '  They would be lost. A copy of that database (pg_dump) keeps them.',
    );
  } else if (!more) output.line(`${colors.green('✓')} ${from} has every one of them.`);
}

function printResult(output: Output, result: JoinResult, dc: string, from: string): void {
  const { colors } = output;
  switch (result.kind) {
    case 'joined': {
      const what = result.readmitted
        ? 'the lease store lets it ask for a lease again'
        : 'it may ask for its first lease';
      output.line(`${colors.green('✓')} ${dc} holds what ${from} holds; ${what} (generation ${result.generation})`);
      return output.line(`  Start its agents. \`lanekeeper switchover\` brings accounts there when you want.`);
    }
    case 'unavailable':
      throw unavailable(result, result.dataCenter, result.role);
    case 'refused':
      throw new CommandFailure(`${result.why}.`, { hint: result.hint });
    case 'stopped':
      throw new CommandFailure(`${result.why}.`, { hint: result.hint ?? 'What was done stays done: run it again.' });
    case 'differs':
      for (const { table, kind, reason, differences } of result.tables) {
        const why = reason === null ? '' : `: ${reason}`;
        output.line(
          `${colors.red('✗')} ${table}: ${kind === 'differs' ? `${count(differences, 'row')} differ` : kind}${why}`,
        );
      }
      output.line(
        `${dc} and ${from} are not equal. \`lanekeeper verify\` names the rows, \`--repair\` mends them; then run this again.`,
      );
      throw new SilentExit(exitCodes.no);
  }
}

/** Steps as lines; what is on its way on one line that is written over, on a terminal only. */
function progressOf(context: CliContext, output: Output): { show(event: JoinEvent): void; clear(): void } {
  const live = !output.json && context.stderr.isTTY === true;
  const write = (text: string) => (live ? context.stderr.write(`\r\x1b[2K${text}`) : undefined);
  let errors = 0;
  let ready = -1;
  return {
    show: (event) => {
      if (event.kind === 'step') {
        write('');
        output.result({ step: event.what });
        return output.line(output.colors.dim(`- ${event.what}`));
      }
      if (event.kind === 'kept') {
        output.result(event);
        return output.line(`  ${count(event.rows, 'row')} went to the ledger, ${event.entries} to decide about`);
      }
      if (event.kind === 'stranded') {
        output.result(event);
        return output.line(
          `  its own log still has what was never sent: ${count(event.changes, 'change')} more in the ledger`,
        );
      }
      if (event.kind === 'reached') return output.result({ reached: event.stage });
      if (event.kind === 'compare') {
        const { index, count: tables, table, rows, estimatedRows } = event;
        return void write(`${index + 1}/${tables} ${table}: ${rows} of about ${Math.max(rows, estimatedRows)} rows`);
      }
      const now = event.copying.map(({ table, rows }) => `${table}: ${rows} rows`).join(', ');
      write(`${event.ready}/${event.tables} tables${now === '' ? '' : `, ${now}`}`);
      if (event.ready !== ready) output.result({ copied: event.ready, tables: event.tables });
      ready = event.ready;
      if (event.errors <= errors) return;
      errors = event.errors;
      write('');
      output.remark(`PostgreSQL met an error while copying (${errors} so far) and tries again: its log says why.`);
    },
    clear: () => void write(''),
  };
}
