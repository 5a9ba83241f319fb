/** `lanekeeper status`: both data centers side by side, and what needs attention. */
import { Command } from 'commander';
import { formatDuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import type { AgentStatus } from '../agent/index.ts';
import { type Agents, openAgents } from './agents.ts';
import { type CliContext, type Colors, createOutput, type Output, SilentExit } from './output.ts';

type StatusOptions = {
  readonly config?: string;
  readonly dc?: string;
  readonly watch?: boolean;
  readonly json?: boolean;
};

/** Null: its agents do not answer. */
type Report = Readonly<Record<DataCenterName, AgentStatus | null>>;

const askTimeoutMs = 3_000;
const watchEveryMs = 1_000;
const recentMoves = 5;

export function statusCommand(context: CliContext): Command {
  return new Command('status')
    .description('show leases, streams, homes and problems of all data centers')
    .option('--config <file>', 'the configuration')
    .option('--dc <name>', 'ask as this data center (default: LANEKEEPER_DC)')
    .option('--watch', 'show it again every second until interrupted')
    .option('--json', 'print one JSON object: {"dataCenters", "problems"}')
    .addHelpText(
      'after',
      `
Asks the agents of every data center. Exit code 0: all is well; 1: something is red.`,
    )
    .action((options: StatusOptions) => runStatus(context, options));
}

async function runStatus(context: CliContext, options: StatusOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const agents = await openAgents(context, options);
  let stopped = false;
  const stop = () => {
    stopped = true;
  };
  try {
    if (options.watch) process.once('SIGINT', stop).once('SIGTERM', stop);
    for (;;) {
      const report = await ask(agents);
      const problems = problemsIn(report);
      output.result({ dataCenters: report, problems });
      if (options.watch && !output.json && context.stdout.isTTY) context.stdout.write('\u001b[H\u001b[2J');
      show(output, agents.configuration.cluster, report, problems);
      if (!options.watch || stopped) {
        if (problems.length > 0) throw new SilentExit();
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, watchEveryMs));
      if (stopped) return;
    }
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    await agents.close();
  }
}

async function ask({ configuration, call }: Agents): Promise<Report> {
  const answers = await Promise.all(
    Object.keys(configuration.dataCenters).map(async (dc): Promise<[DataCenterName, AgentStatus | null]> => {
      const answer = await call(dc, { method: 'GET', path: '/status', timeoutMs: askTimeoutMs });
      const whole = answer.kind === 'answered' && answer.status === 200 && answer.body.dataCenter === dc;
      return [dc, whole ? (answer.body as AgentStatus) : null];
    }),
  );
  return Object.fromEntries(answers);
}

export function problemsIn(report: Report): readonly string[] {
  const problems = Object.entries(report).flatMap(([dc, status]) => {
    if (status !== null) return status.problems.map((problem) => `${dc}: ${problem}`);
    return isAbsent(report, dc) ? [] : [`${dc}: no agent answers`];
  });
  const known = Object.values(report).filter((status) => status !== null);
  if (new Set(known.map(({ configuration }) => configuration.digest)).size > 1)
    problems.push('the data centers are configured differently');
  if (new Set(known.map(({ version }) => version)).size > 1)
    problems.push(
      `different versions run: ${known.map(({ dataCenter, version }) => `${dataCenter} ${version}`).join(', ')}`,
    );
  return problems;
}

/** As those say that answer: it is configured and has not joined. */
function isAbsent(report: Report, dc: DataCenterName): boolean {
  const others = Object.values(report).filter((status) => status !== null);
  return others.some(({ streams }) => streams?.absent?.includes(dc));
}

type Tone = 'plain' | 'good' | 'bad' | 'quiet';
type Cell = { readonly text: string; readonly tone: Tone };
type Row = { readonly title: string; readonly cells: readonly Cell[] };

const cell = (text: string, tone: Tone = 'plain'): Cell => ({ text, tone });
const nothing = cell('–', 'quiet');

function show(output: Output, cluster: string, report: Report, problems: readonly string[]): void {
  const { colors } = output;
  output.line(`${colors.bold(cluster)}  ${colors.dim(new Date().toISOString().replace(/\.\d+Z$/, 'Z'))}`);
  for (const line of renderTable(rowsOf(report), colors)) output.line(line);
  const moves = Object.values(report)
    .flatMap(
      (status) =>
        status?.moves.recent
          .filter(({ what }) => what !== 'given')
          .map((move) => ({ ...move, dc: status.dataCenter })) ?? [],
    )
    .sort((a, b) => (a.at < b.at ? 1 : -1))
    .slice(0, recentMoves);
  if (moves.length > 0) output.line(`\n${colors.bold('latest moves')}`);
  for (const { at, account, what, peer, dc, epoch } of moves) {
    const when = colors.dim(at.slice(11, 19));
    const how = what === 'declined' ? colors.yellow(`${dc} gave it back to ${peer}`) : `${peer} → ${dc}`;
    output.line(`  ${when}  ${account}  ${how}  ${colors.dim(`epoch ${epoch.term}.${epoch.counter}`)}`);
  }
  output.line();
  if (problems.length === 0) output.line(colors.green('✓ all is well'));
  for (const problem of problems) output.line(colors.red(`✗ ${problem}`));
}

/** One line per row; the first column holds the titles. */
export function renderTable(rows: readonly Row[], colors: Colors): readonly string[] {
  const paint: Readonly<Record<Tone, (text: string) => string>> = {
    plain: (text) => text,
    good: colors.green,
    bad: colors.red,
    quiet: colors.dim,
  };
  const titleWidth = Math.max(...rows.map(({ title }) => title.length));
  const widths = (rows[0]?.cells ?? []).map((_, column) =>
    Math.max(...rows.map(({ cells }) => cells[column]?.text.length ?? 0)),
  );
  return rows.map(({ title, cells }) => {
    const padded = cells.map(
      ({ text, tone }, column) => paint[tone](text) + ' '.repeat((widths[column] ?? 0) - text.length),
    );
    return `  ${colors.dim(title.padEnd(titleWidth))}  ${padded.join('   ')}`.trimEnd();
  });
}

export function rowsOf(report: Report): readonly Row[] {
  const names = Object.keys(report);
  const row = (title: string, of: (status: AgentStatus, name: DataCenterName) => Cell): Row => ({
    title,
    cells: names.map((name) => {
      const status = report[name];
      return status === null || status === undefined ? nothing : of(status, name);
    }),
  });
  return [
    { title: '', cells: names.map((name) => cell(name)) },
    {
      title: 'agents',
      cells: names.map((name) => {
        const status = report[name];
        if (!status) return isAbsent(report, name) ? cell('not joined yet', 'quiet') : cell('no answer', 'bad');
        const { length } = status.agents;
        return cell(`${status.instance} leads${length > 1 ? ` (${length} run)` : ''}`);
      }),
    },
    row('lease', ({ lease }) =>
      lease.kind === 'held' ? cell(`held, ${(lease.leftMs / 1000).toFixed(1)} s left`, 'good') : cell('none', 'bad'),
    ),
    row('remote commits', ({ sync }) =>
      sync.alone ? cell('alone: held here only', 'bad') : cell(`wait for ${sync.waitsFor.join(', ')}`, 'good'),
    ),
    row('latest succession', ({ succession: { history, underWay } }) => {
      const last = history.at(-1);
      if (underWay !== null) return cell(underWay, 'bad');
      return last === undefined ? cell('none', 'quiet') : cell(`${last.term}: ${last.kind} ${last.from} → ${last.to}`);
    }),
    ...names.map((home) =>
      row(`homed in ${home}`, ({ homes }) =>
        homes === null ? nothing : cell(`${(homes[home] ?? 0).toLocaleString('en')}`),
      ),
    ),
    ...(['homed', 'rest'] as const).flatMap((stream) =>
      names.map((from) =>
        row(`${stream} stream from ${from}`, (status, name) =>
          name === from ? nothing : incoming(report, status, from, stream),
        ),
      ),
    ),
    ...names.map((peer) =>
      row(`moves with ${peer}`, ({ peers }, name) => {
        const gate = peers[peer];
        if (name === peer || gate === undefined) return nothing;
        return gate.open ? cell('open', 'good') : cell('closed', 'bad');
      }),
    ),
    ...[...new Set(names.flatMap((name) => report[name]?.copies.map(({ table }) => table) ?? []))].map((table) =>
      row(`copy ${table}`, ({ copies }) => {
        const copy = copies.find((one) => one.table === table);
        if (copy === undefined) return cell('not here yet', 'bad');
        const asOf = `as of ${new Date(copy.asOf).toISOString().replace(/(:00)?\.\d+Z$/, 'Z')}`;
        return copy.complete ? cell(asOf, 'good') : cell(`${asOf}, incomplete`, 'bad');
      }),
    ),
    ...(names.some((name) => report[name]?.merge)
      ? [
          row('shared rows to merge', ({ merge }) => {
            if (merge === null) return nothing;
            const failed = merge.failed.reduce((sum, { changes }) => sum + changes, 0);
            if (failed > 0) return cell(`${merge.locked + failed}, ${failed} cannot be`, 'bad');
            return cell(String(merge.locked));
          }),
          row('conflicts within a day', ({ merge }) =>
            merge === null ? nothing : cell(merge.conflictsLastDay.toLocaleString('en')),
          ),
        ]
      : []),
    row('publishing', ({ publishing }) => {
      const [open] = publishing;
      if (open === undefined) return cell('no', 'quiet');
      return cell(`${open.tables.join(', ')} until ${open.until.slice(11, 16)}, by ${open.openedBy}`, 'bad');
    }),
    row('moves under way', ({ moves }) => cell(String(moves.underWay.length))),
    ...(Object.keys(report).length > 2 ? [row('relay slots', relayed)] : []),
    row('undeclared tables', ({ streams }) => {
      const { length } = streams?.undeclared ?? [];
      return length === 0 ? cell('0') : cell(String(length), 'bad');
    }),
  ];
}

/** What is kept for the others, should the third fail. */
function relayed({ relay }: AgentStatus): Cell {
  if (relay === null || relay.slots.length === 0) return nothing;
  const texts = relay.slots.map(({ peer, exists, retainedBytes, complete }) => {
    if (!exists) return `none for ${peer}`;
    return `${bytes(retainedBytes ?? 0)} for ${peer}${complete === false ? ' (not complete)' : ''}`;
  });
  const whole = relay.slots.every(({ exists, complete }) => exists && complete !== false);
  return cell(texts.join(', '), whole ? 'good' : 'bad');
}

/** How a stream looks from where it arrives, and how far it is behind from where it comes. */
function incoming(report: Report, status: AgentStatus, from: DataCenterName, stream: 'homed' | 'rest'): Cell {
  const here = status.streams?.incoming.find((one) => one.publisher === from && one.stream === stream);
  if (here === undefined) return nothing;
  if (here.subscription === null) return cell('not subscribed', 'bad');
  if (!here.running) return cell('does not run', 'bad');
  const there = report[from]?.streams?.outgoing.find(
    (one) => one.subscriber === status.dataCenter && one.stream === stream,
  );
  if (there === undefined) return cell('runs', 'good');
  const late = there.lagMs === null ? '' : `, ${formatDuration(Math.round(there.lagMs))}`;
  return cell(`${bytes(there.lagBytes ?? 0)} behind${late}`, 'good');
}

function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  return `${(count / 1024 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
