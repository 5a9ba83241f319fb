/** `lanekeeper config diff` and `config rollout`: what differs between configurations, and which data center has which. */
import { Command } from 'commander';
import {
  type ComparableConfiguration,
  ConfigurationError,
  checkConfigurationFile,
  comparableConfiguration,
  configurationDigest,
  findConfigurationFile,
  formatDuration,
  type PlacelessConfiguration,
} from 'lanekeeper/config';
import type { AgentStatus } from '../agent/index.ts';
import { openAgents } from './agents.ts';
import { consequences, type Difference, differencesOf, showValue } from './config-differences.ts';
import { placeOfCommand } from './lab-file.ts';
import { type CliContext, createOutput, exitCodes, SilentExit } from './output.ts';
import { productVersion } from './version.ts';

type DiffOptions = {
  readonly against?: string;
  readonly config?: string;
  readonly dc?: string;
  readonly json?: boolean;
};
type RolloutOptions = Omit<DiffOptions, 'against'>;

const askTimeoutMs = 5_000;

export function configDiffCommand(context: CliContext): Command {
  return new Command('diff')
    .description('say what differs between this configuration and another one, and what that needs')
    .option(
      '--against <dc|file>',
      'a data center, as its agent has it, or a file (default: every data center that differs)',
    )
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Compares what data centers should agree on, with every default filled in: not how each reaches the others, and no secrets.

Exit code 0: nothing differs. 1: something does.

Examples:
  $ lanekeeper config diff --against lanekeeper.old.yaml
  $ LANEKEEPER_DC=la lanekeeper config diff --against ny`,
    )
    .action((options: DiffOptions) => runDiff(context, options));
}

export function configRolloutCommand(context: CliContext): Command {
  return new Command('rollout')
    .description('show which data center has which configuration and version, since when, and who is next')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--json', 'print the result as JSON')
    .action((options: RolloutOptions) => runRollout(context, options));
}

async function runDiff(context: CliContext, options: DiffOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { env, config } = placeOfCommand(context, options);
  const file = findConfigurationFile({ file: config, env, directory: context.directory });
  const ours = await load(file, env);
  const others =
    options.against === undefined || Object.hasOwn(ours.dataCenters, options.against)
      ? await fromAgents(context, options)
      : { [options.against]: comparableConfiguration(await load(options.against, env)) };
  const here = comparableConfiguration(ours);
  const found = Object.entries(others).map(([name, theirs]) => ({
    against: name,
    differences: theirs === null ? null : differencesOf(theirs, here),
  }));
  for (const { against, differences } of found) {
    if (differences === null) output.line(`${output.colors.red('✗')} ${against}: no agent answers`);
    else if (differences.length === 0) output.line(`${output.colors.green('✓')} ${against}: the same`);
    else {
      output.line(`${output.colors.bold(against)} → ${file}`);
      for (const one of differences) for (const line of describe(one)) output.line(line);
      const needs = consequences.filter((one) => differences.some((difference) => difference.needs.includes(one)));
      output.line(output.colors.dim(`needs: ${needs.join(', ')}`));
    }
  }
  output.result({ file, digest: configurationDigest(ours), found });
  if (found.some(({ differences }) => differences === null)) throw new SilentExit(exitCodes.unreachable);
  if (found.some(({ differences }) => differences?.length !== 0)) throw new SilentExit(exitCodes.no);
}

function describe({ path, before, after, needs, note }: Difference): readonly string[] {
  const lines = [`  ${path.join('.')}: ${showValue(before)} → ${showValue(after)}  [${needs.join(', ')}]`];
  return note === null ? lines : [...lines, `      ${note}`];
}

async function load(file: string, env: NodeJS.ProcessEnv): Promise<PlacelessConfiguration> {
  const result = await checkConfigurationFile(file, env);
  if (result.kind === 'invalid') throw new ConfigurationError(result.diagnostics);
  return result.configuration;
}

async function fromAgents(
  context: CliContext,
  options: DiffOptions,
): Promise<Readonly<Record<string, ComparableConfiguration | null>>> {
  const agents = await openAgents(context, options);
  try {
    const names = options.against === undefined ? Object.keys(agents.configuration.dataCenters) : [options.against];
    const asked = names.map(async (dc) => {
      const answer = await agents.call(dc, { method: 'GET', path: '/v1/configuration', timeoutMs: askTimeoutMs });
      const whole = answer.kind === 'answered' && answer.status === 200;
      return [dc, whole ? (answer.body.configuration as ComparableConfiguration) : null] as const;
    });
    return Object.fromEntries(await Promise.all(asked));
  } finally {
    await agents.close();
  }
}

type Standing = Pick<AgentStatus, 'version' | 'configuration'> & { readonly healthyForMs: number | null };

async function runRollout(context: CliContext, options: RolloutOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const agents = await openAgents(context, options);
  try {
    const { configuration } = agents;
    const ours = { digest: configurationDigest(configuration), version: productVersion() };
    const { order, bakeMs } = configuration.rollout;
    const standings: (readonly [string, Standing | null])[] = await Promise.all(
      order.map(async (dc) => {
        const answer = await agents.call(dc, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs });
        if (answer.kind !== 'answered' || answer.status !== 200) return [dc, null] as const;
        const { version, configuration: theirs, at } = answer.body as AgentStatus;
        const healthyForMs = theirs.healthySince === null ? null : Date.parse(at) - Date.parse(theirs.healthySince);
        return [dc, { version, configuration: theirs, healthyForMs }] as const;
      }),
    );
    const { colors } = output;
    output.line(`this file: ${ours.digest} with version ${ours.version}`);
    for (const [dc, standing] of standings) {
      if (standing === null) {
        output.line(`${colors.red('✗')} ${dc}: no agent answers`);
        continue;
      }
      const { version, configuration: theirs, healthyForMs } = standing;
      const same = theirs.digest === ours.digest && version === ours.version;
      const health = healthyForMs === null ? 'not healthy' : `healthy for ${seconds(healthyForMs)}`;
      const since = theirs.since === null ? '' : ` since ${theirs.since}`;
      output.line(
        `${same ? colors.green('✓') : colors.yellow('·')} ${dc}: ${theirs.digest} with version ${version}${since}, ${health}`,
      );
    }
    const next = nextOf(standings, ours, bakeMs);
    output.line(next.text);
    output.result({ ...ours, bakeMs, dataCenters: Object.fromEntries(standings), next: next.dc });
  } finally {
    await agents.close();
  }
}

/** Who is to take this file next, and from when on. */
export function nextOf(
  standings: readonly (readonly [string, Standing | null])[],
  ours: { readonly digest: string; readonly version: string },
  bakeMs: number,
): { readonly dc: string | null; readonly text: string } {
  const has = (standing: Standing | null) =>
    standing !== null && standing.configuration.digest === ours.digest && standing.version === ours.version;
  const at = standings.findIndex(([, standing]) => !has(standing));
  const [dc, standing] = standings[at] ?? [];
  if (dc === undefined) return { dc: null, text: 'every data center has it' };
  if (standing === null) return { dc, text: `${dc} is next, and does not answer` };
  const [before, previous] = standings[at - 1] ?? [];
  if (before === undefined) return { dc, text: `${dc} is first` };
  const healthyForMs = previous?.healthyForMs ?? null;
  if (healthyForMs === null)
    return { dc, text: `${dc} is next, when ${before} has been healthy with it for ${formatDuration(bakeMs)}` };
  const leftMs = bakeMs - healthyForMs;
  return { dc, text: leftMs <= 0 ? `${dc} may take it now` : `${dc} may take it in ${seconds(leftMs)}` };
}

function seconds(ms: number): string {
  return formatDuration(Math.max(1, Math.round(ms / 1_000)) * 1_000);
}
