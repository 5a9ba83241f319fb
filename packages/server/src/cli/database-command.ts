/** What the commands that work on databases share: configuration, connections by role, and words for what goes wrong. */
import type { Command } from 'commander';
import { type Configuration, databaseUrl, loadConfiguration, type RoleName } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { type Connect, connect, type DatabaseProblem, type PlanProblem, type Unavailable } from '../postgres/index.ts';
import { placeOfCommand } from './lab-file.ts';
import { type CliContext, CommandFailure, exitCodes } from './output.ts';

/** Options that every such command has. */
export type DatabaseOptions = { readonly config?: string; readonly dc?: string; readonly json?: boolean };

/** Adds them. `what`: what `--dc` names. */
export function withPlace(command: Command, what: string): Command {
  return command
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', `${what} (default: LANEKEEPER_DC)`)
    .option('--json', 'print the result as JSON');
}

export type DatabaseCommand = {
  readonly configuration: Configuration;
  readonly env: NodeJS.ProcessEnv;
  /** Connections to a data center as one of the roles; the password comes from the environment. */
  connect(dc: DataCenterName, role: RoleName): Connect;
};

export async function openDatabaseCommand(context: CliContext, options: DatabaseOptions): Promise<DatabaseCommand> {
  const { env, config } = placeOfCommand(context, options);
  const { configuration } = await loadConfiguration({ file: config, env, directory: context.directory });
  return {
    configuration,
    env,
    connect: (dc, role) => (applicationName) => connect(databaseUrl(configuration, dc, role, env), { applicationName }),
  };
}

/** Ends the command: this database cannot be used, and what to do about it. */
export function unavailable(failure: Unavailable, dc: DataCenterName, role: RoleName): CommandFailure {
  const password = `LANEKEEPER_${role.toUpperCase()}_PASSWORD`;
  const hints: Readonly<Record<Unavailable['reason'], string>> = {
    unreachable: `Is \`dataCenters.${dc}.database\` right, and does PostgreSQL run?`,
    'wrong-password': `Set ${password} (or LANEKEEPER_${dc.toUpperCase()}_${role.toUpperCase()}_PASSWORD).`,
    'no-password': `Set ${password} (or LANEKEEPER_${dc.toUpperCase()}_${role.toUpperCase()}_PASSWORD).`,
    refused: `Does the role exist and may it log in? \`lanekeeper doctor\` prints the statements.`,
    'no-such-database': `Is the name at the end of \`dataCenters.${dc}.database\` right?`,
    'missing-right': `\`lanekeeper doctor\` prints the statements.`,
    'too-many-connections': 'Close some, or raise max_connections.',
    'not-accepting': 'Try again in a moment.',
  };
  return new CommandFailure(`${failure.message}.`, { exitCode: exitCodes.unreachable, hint: hints[failure.reason] });
}

export function refused(problems: readonly PlanProblem[]): CommandFailure {
  const [first, ...rest] = problems;
  return new CommandFailure(first?.message ?? 'Nothing can be applied.', {
    exitCode: exitCodes.configuration,
    hint: rest.length === 0 ? null : rest.map((problem) => problem.message).join('\n  '),
  });
}

export function databaseFailure(what: string, error: DatabaseProblem): CommandFailure {
  const detail = [error.detail, error.hint].filter((text) => text !== null).join(' ');
  const rights = error.code === '42501' ? 'A right is missing: `lanekeeper doctor` prints the statements.' : null;
  return new CommandFailure(`${what}: ${error.message} [${error.code}]${detail ? ` ${detail}` : ''}`, { hint: rights });
}

export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}
