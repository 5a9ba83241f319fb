/** One page for the person who started the lab: where to look and what to try. */
import { approaches, type Routing } from 'lanekeeper/model';
import type { LabDescription } from './description.ts';

const whoServes: Readonly<Record<Routing, string>> = {
  customer: "served by the account's home",
  connection: "served here, written through a connection to the account's home",
  call: "drawn by a frontend here, done by a backend in the account's home",
};

export type Paint = { bold(text: string): string; dim(text: string): string; cyan(text: string): string };

export type PageFacts = {
  readonly description: LabDescription;
  readonly storefront: boolean;
  readonly rttMs: number;
  readonly tookMs: number;
  readonly deskPassphrase: string;
  readonly keep: boolean;
  /** How `lanekeeper` is called from the working folder. */
  readonly program: string;
  /** Whether other commands find this lab from the working folder; else they need LANEKEEPER_LAB. */
  readonly found: boolean;
};

export function renderPage(facts: PageFacts, paint: Paint): string {
  const { description, program } = facts;
  const names = Object.keys(description.dataCenters);
  const [first, second] = names as [string, string];
  const { homes, routing } = approaches[description.approach];
  const lines: string[] = [''];
  const heading = (text: string): number => lines.push(paint.bold(text));
  const row = (name: string, value: string, remark = ''): number =>
    lines.push(`  ${name.padEnd(12)} ${paint.cyan(value)}${remark === '' ? '' : `  ${paint.dim(remark)}`}`);

  heading(
    `${names.length === 2 ? 'Two' : 'Three'} data centers, ${facts.rttMs} ms apart, ${description.approach}, ready after ${(facts.tookMs / 1000).toFixed(1)} s`,
  );
  for (const [name, { place, url }] of Object.entries(description.dataCenters)) row(name, url, place);
  if (description.payments !== null) row('payments', description.payments, 'charges the orders; outside of them');
  lines.push('');
  if (facts.storefront) {
    heading('Try');
    lines.push(
      `  1. Open ${paint.cyan(first === undefined ? '' : urlOf(description, first))}, register, and put something into the cart.`,
    );
    lines.push(
      `  2. Open ${paint.cyan(urlOf(description, second))}: the same session, the same cart, ${whoServes[routing]}.`,
    );
    for (const third of names.slice(2)) lines.push(`     So in ${paint.cyan(urlOf(description, third))}.`);
    lines.push(
      `  3. Look at the strip at the top of the page: which data center served it, and where the account lives${homes === 'single' ? `: always in ${first}` : ''}.`,
    );
    lines.push(
      `  4. The desk, where the staff edits orders: ${paint.cyan(`${urlOf(description, first)}/desk`)}  ${paint.dim(`passphrase ${facts.deskPassphrase}`)}`,
    );
    lines.push('');
  }
  heading('Break it');
  for (const [text, remark] of [
    [
      `${program} lab link ${first} ${second} --cut`,
      names.length === 2 ? 'the data centers no longer see each other' : 'they no longer see each other; all others do',
    ],
    [`${program} lab link ${first} ${second} --cut --one-way`, `nothing from ${first} arrives in ${second}`],
    [`${program} lab link ${first} witness --cut`, `${first} cannot prove its lease: it stops writing`],
    [`${program} lab link ${first} ${second} --rtt 200ms`, 'farther apart'],
    [`${program} lab link ${first} ${second} --heal`, ''],
    [
      `${program} lab process ${first} all kill`,
      `${first} dies: ${names.length === 2 ? second : 'one of the others'} takes over within seconds`,
    ],
    [`${program} lab process ${first} all start`, 'it comes back by itself'],
    [`${program} switchover --to ${first} --hand-back`, 'and gets its accounts back'],
    ...(description.payments === null
      ? []
      : [
          [`${program} lab process payments service stop`, 'orders are taken all the same'] as const,
          [`${program} lab process payments service start`, 'and now charged, each once'] as const,
        ]),
  ] as const) {
    lines.push(`  ${text.padEnd(58)} ${paint.dim(remark)}`.trimEnd());
  }
  lines.push('');
  heading('Look inside');
  lines.push(`  ${program} status`);
  lines.push(`  ${program} lab status`);
  for (const name of names) {
    const { databases, agent } = description.dataCenters[name] as LabDescription['dataCenters'][string];
    lines.push(`  psql '${databases.application}'  ${paint.dim(`${name}, as the application`)}`);
    lines.push(`  curl ${agent}/health`);
  }
  lines.push('');
  lines.push(
    paint.dim(
      `Everything is in ${description.dir}${facts.keep ? ', and stays there' : ', until it stops'}; logs in ${description.dir}/logs.`,
    ),
  );
  if (!facts.found) lines.push(paint.dim(`For other commands: export LANEKEEPER_LAB=${description.dir}`));
  lines.push(paint.dim('Ctrl-C stops everything.'));
  return lines.join('\n');
}

function urlOf(description: LabDescription, name: string): string {
  return description.dataCenters[name]?.url ?? '';
}
