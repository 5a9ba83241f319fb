/** `lanekeeper lab link A B`: cuts, heals and slows the way between two sites of a running lab. */
import { Argument, Command, InvalidArgumentError } from 'commander';
import { parseDuration } from 'lanekeeper/config';
import type { LabContext } from './context.ts';
import { LinksClient } from './links/client.ts';
import type { DirectionSettings, LinkMode } from './links/direction.ts';
import type { DirectionState } from './links/links.ts';
import { runningLab } from './running.ts';

type LinkOptions = {
  readonly cut?: boolean;
  readonly heal?: boolean;
  readonly refuse?: boolean;
  readonly oneWay?: boolean;
  readonly rtt?: number;
  readonly jitter?: number;
  readonly bandwidth?: number | null;
  readonly dir?: string;
  readonly json?: boolean;
};

export function linkCommand(context: LabContext): Command {
  return new Command('link')
    .description('show, cut, heal or slow the way between two sites of a running lab')
    .addArgument(new Argument('[from]', 'a data center, witness, customers or payments'))
    .addArgument(new Argument('[to]', 'another one'))
    .option('--cut', 'nothing arrives any more; what is sent waits for healing')
    .option('--refuse', 'connections are reset, as by a firewall that rejects')
    .option('--heal', 'open again; its delay stays')
    .option('--one-way', 'only from the first to the second')
    .option('--rtt <duration>', 'round trip, for example 200ms; with --one-way, the delay of that direction', duration)
    .option('--jitter <duration>', 'up to this much more each way', duration)
    .option('--bandwidth <bytes>', 'bytes a second each way, for example 125000; `none` for no limit', bandwidth)
    .option('--dir <folder>', 'the folder of the lab (default: LANEKEEPER_LAB, else the one started here)')
    .option('--json', 'print {"links": […]} as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ lanekeeper lab link
  $ lanekeeper lab link ny la --cut
  $ lanekeeper lab link ny witness --cut --one-way
  $ lanekeeper lab link ny la --heal
  $ lanekeeper lab link ny la --rtt 200ms --jitter 20ms`,
    )
    .action((from: string | undefined, to: string | undefined, options: LinkOptions) =>
      link(context, from, to, options),
    );
}

async function link(
  context: LabContext,
  from: string | undefined,
  to: string | undefined,
  options: LinkOptions,
): Promise<void> {
  const lab = await runningLab(context, options.dir);
  const client = new LinksClient(lab.links);
  const changes = changesOf(context, options);
  if (changes && (from === undefined || to === undefined)) {
    context.fail('Which link?', { exitCode: 2, hint: 'Name both ends: lanekeeper lab link ny la --cut' });
  }
  const { directions } = await client.state();
  const sites = [...new Set(directions.map((direction) => direction.from))].sort();
  for (const site of [from, to]) {
    if (site !== undefined && !sites.includes(site)) {
      context.fail(`There is no ${site} in this lab.`, { exitCode: 2, hint: `There are ${sites.join(', ')}.` });
    }
  }
  const chosen = (direction: DirectionState): boolean =>
    (from === undefined || direction.from === from || (!options.oneWay && direction.to === from)) &&
    (to === undefined || direction.to === to || (!options.oneWay && direction.from === to));
  const targets = directions.filter(chosen);
  if (targets.length === 0) context.fail(`${from} and ${to} have no link with each other.`, { exitCode: 2 });
  if (changes) for (const target of targets) await client.change(target.from, target.to, changes);
  const after = (await client.state()).directions.filter(chosen);
  if (options.json) context.stdout.write(`${JSON.stringify({ links: after })}\n`);
  else context.stdout.write(`${renderDirections(after, context)}\n`);
}

/** Null: nothing is to be changed. */
function changesOf(context: LabContext, options: LinkOptions): Partial<DirectionSettings> | null {
  const modes = (['cut', 'refuse', 'heal'] as const).filter((name) => options[name]);
  if (modes.length > 1) context.fail(`--${modes[0]} and --${modes[1]} exclude each other.`, { exitCode: 2 });
  const [mode] = modes;
  const changes = {
    ...(mode === undefined ? {} : { mode: (mode === 'heal' ? 'open' : mode) as LinkMode }),
    ...(options.rtt === undefined ? {} : { delayMs: options.oneWay ? options.rtt : options.rtt / 2 }),
    ...(options.jitter === undefined ? {} : { jitterMs: options.jitter }),
    ...(options.bandwidth === undefined ? {} : { bytesPerSecond: options.bandwidth }),
  };
  return Object.keys(changes).length === 0 ? null : changes;
}

const words: Readonly<Record<LinkMode, string>> = { open: 'open', cut: 'CUT', refuse: 'REFUSED' };

export function renderDirections(directions: readonly DirectionState[], { colors }: LabContext): string {
  return [...directions]
    .sort((a, b) => `${a.from} ${a.to}`.localeCompare(`${b.from} ${b.to}`))
    .map((direction) => {
      const { from, to, mode, delayMs, jitterMs, bytesPerSecond, connections, heldBytes } = direction;
      const state = mode === 'open' ? colors.green(words[mode]) : colors.red(words[mode]);
      const details = [
        `${delayMs} ms${jitterMs > 0 ? ` + up to ${jitterMs} ms` : ''}`,
        ...(bytesPerSecond === null ? [] : [`${bytesPerSecond} bytes/s`]),
        `${connections} connections`,
        ...(heldBytes > 0 ? [`${heldBytes} bytes on their way`] : []),
      ];
      return `  ${`${from} → ${to}`.padEnd(22)} ${state}  ${colors.dim(details.join(', '))}`;
    })
    .join('\n');
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === null || ms > 60_000) throw new InvalidArgumentError('A number and its unit, at most 60s: 200ms, 1s.');
  return ms;
}

function bandwidth(text: string): number | null {
  if (text === 'none') return null;
  if (!/^[1-9]\d{0,11}$/.test(text)) throw new InvalidArgumentError('A whole number of bytes a second, or none.');
  return Number(text);
}
