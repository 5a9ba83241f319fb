/** `lanekeeper edge`: the reverse proxy in front of one data center; see `../edge/index.ts`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { loadConfiguration } from 'lanekeeper/config';
import { createKeyRing } from 'lanekeeper/session';
import { startEdge } from '../edge/index.ts';
import { placeOfCommand } from './lab-file.ts';
import { type CliContext, createOutput } from './output.ts';
import { address, cannotListen, duration, jsonLog, type ListenAddress, tlsOf, untilStopped } from './serving.ts';

type EdgeCommandOptions = {
  readonly config?: string;
  readonly listen: ListenAddress;
  readonly trustProxy: readonly string[];
  readonly healthPath?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly sessions: number;
  readonly drain: number;
  readonly hold?: number;
  readonly json?: boolean;
};

const defaultListen = '127.0.0.1:8080';
const defaultDrain = '20s';

export function edgeCommand(context: CliContext): Command {
  return new Command('edge')
    .description('run the edge of this data center: every customer is sent to his home')
    .option('--config <file>', 'the configuration')
    .addOption(
      new Option('--listen <host:port>', 'where to listen; port 0 takes a free one')
        .argParser(address)
        .default(address(defaultListen), defaultListen),
    )
    .addOption(
      new Option(
        '--trust-proxy <network>',
        'an address or network in front of this edge whose X-Forwarded-… are believed (may be repeated)',
      )
        .argParser((network: string, others: readonly string[]) => [...others, network])
        .default([], 'none'),
    )
    .option('--health-path <path>', 'ask every application instance for this path every 2 s; 2xx means well')
    .option('--tls-cert <file>', 'serve https with this certificate chain (PEM)')
    .option('--tls-key <file>', 'and this private key (PEM)')
    .option('--sessions <n>', 'how many verified sessions to remember, about 1 KiB each', wholeNumber, 100_000)
    .addOption(
      new Option('--drain <duration>', 'on SIGTERM, how long requests in flight may take to finish')
        .argParser(duration)
        .default(duration(defaultDrain), defaultDrain),
    )
    .addOption(
      new Option(
        '--hold <duration>',
        'after a home was lost, how long requests wait for it or for its successor (default: with automatic failover as long as that takes, else 0s)',
      ).argParser(duration),
    )
    .option('--json', 'print {"ready": {"url"}} as JSON when it listens')
    .addHelpText(
      'after',
      `
Needs the signing key of its data center, so that the other edges believe it. Says what happens on stderr, as JSON.
GET /lanekeeper/health    200 while an application instance can be reached; for load balancers and other edges
GET /lanekeeper/metrics   from this machine, or with Authorization: Bearer $LANEKEEPER_METRICS_TOKEN

Examples:
  $ LANEKEEPER_DC=ny lanekeeper edge --listen 0.0.0.0:8080 --trust-proxy 10.0.0.0/8`,
    )
    .action((options: EdgeCommandOptions) => runEdge(context, options));
}

async function runEdge(context: CliContext, options: EdgeCommandOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const place = placeOfCommand(context, { config: options.config });
  const { configuration } = await loadConfiguration({
    file: place.config,
    env: place.env,
    directory: context.directory,
  });
  const { LANEKEEPER_METRICS_TOKEN: metricsToken } = place.env;
  const edge = await startEdge({
    configuration,
    keys: createKeyRing(configuration, { env: place.env, maxCached: options.sessions }),
    ...options.listen,
    ...tlsOf(context, options),
    trustedProxies: options.trustProxy,
    ...(options.healthPath === undefined ? {} : { applicationHealthPath: options.healthPath }),
    ...(metricsToken ? { metricsToken } : {}),
    limits: { drainMs: options.drain, ...(options.hold === undefined ? {} : { holdMs: options.hold }) },
    log: jsonLog(context),
  }).catch((error: unknown) => cannotListen(error, options.listen));
  output.line(`The edge of ${configuration.here} listens on ${output.colors.bold(edge.url)}`);
  output.result({ ready: { url: edge.url } });
  await untilStopped();
  const { cut } = await edge.close();
  if (cut > 0) output.remark(`${cut} connections were still in use and have been cut.`);
}

function wholeNumber(text: string): number {
  if (!/^\d{1,8}$/.test(text)) throw new InvalidArgumentError('A whole number.');
  return Number(text);
}
