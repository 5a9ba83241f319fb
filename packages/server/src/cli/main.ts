/**
 * The `lanekeeper` command: puts the commands together, one file each, and is the composition root where rooms that must
 * not know each other are handed to one another.
 *
 * Conventions: unknown commands, options and arguments are refused. `--json` prints one JSON object per line. Exit codes are
 * in `output.ts`. NO_COLOR is respected. A command throws `CommandFailure` or `LanekeeperError`, or `SilentExit` after it has said
 * its answer; nobody calls process.exit.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { adoptCommand } from './adopt.ts';
import { adviseCommand } from './advise.ts';
import { agentCommand } from './agent.ts';
import { applyCommand } from './apply.ts';
import { bufferCommand } from './buffer.ts';
import { configCommand } from './config.ts';
import { conflictsCommand } from './conflicts.ts';
import { copiesCommand } from './copies.ts';
import { doctorCommand } from './doctor.ts';
import { edgeCommand } from './edge.ts';
import { failoverCommand } from './failover.ts';
import { initCommand } from './init.ts';
import { joinCommand } from './join.ts';
import { keysCommand } from './keys.ts';
import { drillCommand, labCommand, loadLab } from './lab.ts';
import { leaveCommand } from './leave.ts';
import { migrateCommand } from './migrate.ts';
import { type CliContext, colorsFor, exitCodes, processContext, reportError } from './output.ts';
import { planCommand } from './plan.ts';
import { publishCommand } from './publish.ts';
import { rehomeCommand } from './rehome.ts';
import { rejoinCommand } from './rejoin.ts';
import { removeCommand } from './remove.ts';
import { statusCommand } from './status.ts';
import { strandedCommand } from './stranded.ts';
import { switchoverCommand } from './switchover.ts';
import { verifyCommand } from './verify.ts';

export { processContext };

export type CommandFactory = (context: CliContext) => Command;

/** In the order in which `lanekeeper help` lists them: the order in which one meets them. */
const commands: readonly CommandFactory[] = [
  initCommand,
  adoptCommand,
  adviseCommand,
  configCommand,
  keysCommand,
  doctorCommand,
  planCommand,
  applyCommand,
  verifyCommand,
  removeCommand,
  agentCommand,
  edgeCommand,
  statusCommand,
  rehomeCommand,
  switchoverCommand,
  failoverCommand,
  rejoinCommand,
  publishCommand,
  migrateCommand,
  copiesCommand,
  strandedCommand,
  conflictsCommand,
  bufferCommand,
  joinCommand,
  leaveCommand,
];

const closing = `
Examples:
  $ lanekeeper lab
  $ lanekeeper init --cluster shop --data-centers ny,la
  $ lanekeeper config check
  $ lanekeeper keys new --dc ny

Environment:
  LANEKEEPER_CONFIG   the configuration file (default: lanekeeper.yaml, .yml, .ts, .mjs, .js or .json here)
  LANEKEEPER_DC       the data center in which this process is
  LANEKEEPER_LAB      the folder of a running lab (default: the one started here or in a folder above)
  LANEKEEPER_<ROLE>_PASSWORD, LANEKEEPER_<DC>_<ROLE>_PASSWORD
                      passwords of the roles owner, application, agent, replication, witness
  LANEKEEPER_SIGNING_KEY, LANEKEEPER_SIGNING_KEY_FILE
                      the private key of this data center, as JWK
  NO_COLOR            no colours

Exit codes:
  0 done  1 the answer is no  2 wrong usage  3 mistakes in the configuration
  4 something could not be reached  70 a mistake in Lanekeeper`;

/** Runs one command line (without node and script) and returns its exit code. Never throws. */
export async function run(argv: readonly string[], context: CliContext): Promise<number> {
  const json = argv.includes('--json');
  const program = new Command('lanekeeper')
    // An option after a command's name is that command's, also where the one above it has the same.
    .enablePositionalOptions()
    .description(
      'One application, live in several data centers on plain PostgreSQL, each customer written in one place only.',
    )
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', closing);
  try {
    const called = argv.find((word) => word !== 'help');
    program.addCommand(called === 'lab' ? await loadLab(context, 'lab') : labCommand());
    for (const factory of commands) program.addCommand(factory(context));
    program.addCommand(called === 'drill' ? await loadLab(context, 'drill') : drillCommand());
    settle(program, context, json);
    if (argv.length === 0) {
      program.outputHelp();
      return exitCodes.usage;
    }
    // `help lab link` is asked for as often as `lab link --help`; commander would show the help of `lab` for it.
    const words = argv[0] === 'help' && argv.length > 2 ? [...argv.slice(1), '--help'] : argv;
    await program.parseAsync(words, { from: 'user' });
    return exitCodes.done;
  } catch (error) {
    if (error instanceof CommanderError) return reportUsage(error, context, json);
    return reportError(error, context, { json });
  }
}

/** `addCommand` hands nothing down, so every command is told the same. */
function settle(command: Command, context: CliContext, json: boolean): void {
  const enabled = colorsFor(context.stdout, context.env).bold('x') !== 'x';
  command
    .exitOverride()
    .allowExcessArguments(false)
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => (json ? undefined : context.stderr.write(text)),
      getOutHasColors: () => enabled,
      getErrHasColors: () => enabled,
    })
    .showHelpAfterError(`Run \`${fullName(command)} --help\` for what it takes.`);
  for (const child of command.commands) settle(child, context, json);
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function reportUsage(error: CommanderError, context: CliContext, json: boolean): number {
  if (error.code === 'commander.helpDisplayed' || error.code === 'commander.version') return exitCodes.done;
  if (error.code === 'commander.help' && error.exitCode === 0) return exitCodes.done;
  if (json) {
    const message = error.message.replace(/^error: /, '').split('\n', 1)[0];
    context.stdout.write(`${JSON.stringify({ error: { code: 'USAGE', message, exitCode: exitCodes.usage } })}\n`);
  }
  return exitCodes.usage;
}

function version(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  );
  return manifest.version;
}
