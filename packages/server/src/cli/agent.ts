/** `lanekeeper agent`: keeps the lease of one data center and moves accounts; see `../agent/index.ts`. */
import { Command, Option } from 'commander';
import { databaseUrl, loadConfiguration, type RoleName } from 'lanekeeper/config';
import { createKeyRing } from 'lanekeeper/session';
import { defaultLimits, startAgent } from '../agent/index.ts';
import { connect } from '../postgres/index.ts';
import { openBuffering } from './buffer-service.ts';
import { placeOfCommand } from './lab-file.ts';
import { openLeaseStore } from './lease-store.ts';
import { type CliContext, createOutput } from './output.ts';
import { passRolloutGate } from './rollout-gate.ts';
import { address, cannotListen, duration, jsonLog, type ListenAddress, tlsOf, untilStopped } from './serving.ts';
import { productVersion } from './version.ts';

type AgentCommandOptions = {
  readonly config?: string;
  readonly listen: ListenAddress;
  readonly url?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly instance?: string;
  readonly transactionLimit: number;
  readonly now?: boolean;
  readonly json?: boolean;
};

const defaultListen = '127.0.0.1:7411';
const defaultTransactionLimit = '10s';

export function agentCommand(context: CliContext): Command {
  return new Command('agent')
    .description('run an agent of this data center: it keeps the lease, moves accounts and watches the streams')
    .option('--config <file>', 'the configuration')
    .addOption(
      new Option('--listen <host:port>', 'where its API listens; port 0 takes a free one')
        .argParser(address)
        .default(address(defaultListen), defaultListen),
    )
    .option('--url <url>', 'where the other agents of this data center reach it (default: where it listens)')
    .option('--tls-cert <file>', 'serve https with this certificate chain (PEM)')
    .option('--tls-key <file>', 'and this private key (PEM)')
    .option('--instance <name>', 'its name among the agents of this data center (default: made up)')
    .addOption(
      new Option('--transaction-limit <duration>', 'end transactions that have written and are older than this')
        .argParser(duration)
        .default(defaultLimits.transactionMs, defaultTransactionLimit),
    )
    .option('--now', 'do not wait for the data center before this one to be well with this configuration and version')
    .option('--json', 'print {"ready": {"url"}} as JSON when it listens')
    .addHelpText(
      'after',
      `
Run two or more per data center; one leads. Connects to the local PostgreSQL as the agent's role, to the witness, and to
the other data centers' agents. Says what happens on stderr, as JSON.
GET /health     200 while this data center may write; for supervisors and load balancers
GET /metrics    for Prometheus; keep it from the outside

Examples:
  $ LANEKEEPER_DC=ny lanekeeper agent --listen 0.0.0.0:7411 --url http://ny-agent-1.internal:7411`,
    )
    .action((options: AgentCommandOptions) => runAgent(context, options));
}

async function runAgent(context: CliContext, options: AgentCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const { env, config } = placeOfCommand(context, { config: options.config });
  const { configuration } = await loadConfiguration({ file: config, env, directory: context.directory });
  const { here } = configuration;
  const log = jsonLog(context);
  const open = (dc: string, role: RoleName) => (applicationName: string) =>
    connect(databaseUrl(configuration, dc, role, env), { applicationName });
  await passRolloutGate({
    configuration,
    connect: (dc) => open(dc, 'agent'),
    now: options.now ?? false,
    // A data center that is down must not keep this one from starting.
    onUnknown: { say: (message) => log('warn', 'new configuration', { message }) },
  });
  const buffering = openBuffering(configuration, env, log);
  const agent = await startAgent({
    configuration,
    keys: createKeyRing(configuration, { env }),
    databaseUrl: databaseUrl(configuration, here, 'agent', env),
    connect: open,
    leaseStore: openLeaseStore(configuration, env),
    ...options.listen,
    ...tlsOf(context, options),
    ...(options.url === undefined ? {} : { url: options.url }),
    ...(options.instance === undefined ? {} : { instance: options.instance }),
    ...(env.LANEKEEPER_HOOK_SECRET ? { hookSecret: env.LANEKEEPER_HOOK_SECRET } : {}),
    version: productVersion(),
    limits: { transactionMs: options.transactionLimit },
    ...(buffering === undefined ? {} : { buffering }),
    log,
  }).catch((error: unknown) => cannotListen(error, options.listen));
  output.line(`The agent of ${here} listens on ${output.colors.bold(agent.url)}`);
  output.result({ ready: { url: agent.url } });
  await untilStopped();
  await agent.close();
}
