/** `lanekeeper stranded`: what a data center committed beyond the cut at which it was taken over, and what becomes of it. */
import { hostname, userInfo } from 'node:os';
import { Command } from 'commander';
import type { DataCenterName } from 'lanekeeper/model';
import type { Client } from 'pg';
import {
  type Decision,
  discardStranded,
  type LedgerTransaction,
  listStranded,
  type MergeResult,
  mergeStranded,
  readStranded,
  type TransactionName,
} from '../postgres/index.ts';
import {
  count,
  type DatabaseCommand,
  type DatabaseOptions,
  openDatabaseCommand,
  unavailable,
  withPlace,
} from './database-command.ts';
import { type CliContext, CommandFailure, createOutput, exitCodes, type Output, SilentExit } from './output.ts';
import { nameOf, printEntry, printTransaction } from './stranded-display.ts';

type ListOptions = DatabaseOptions & { readonly account?: string; readonly state?: string };
type DecideOptions = DatabaseOptions & {
  readonly account?: string;
  readonly all?: boolean;
  readonly reason?: string;
  readonly by?: string;
};

const states = ['open', 'merged', 'discarded'] as const;

export function strandedCommand(context: CliContext): Command {
  const command = new Command('stranded').description(
    'what a data center committed that never arrived before it was taken over',
  );
  command.addHelpText(
    'after',
    `
A source transaction is named by its data center, that one's generation and where its commit ends: ny/1/0/16B3748. It is
decided about as a whole, in the data center where its accounts are written now. What was decided, by whom, when and why
is kept; keys and rows are removed after 30 days.

Examples:
  $ lanekeeper stranded list --account ny_acc_01J9Z
  $ lanekeeper stranded show ny/1/0/16B3748
  $ lanekeeper stranded merge --account ny_acc_01J9Z
  $ lanekeeper stranded discard ny/1/0/16B3748 --reason 'the customer ordered again'`,
  );
  command.addCommand(
    place(new Command('list'))
      .description('source transactions, oldest first')
      .option('--account <account>', 'only those that touch this account')
      .option('--state <state>', 'open, merged, discarded or all', 'open')
      .action((options: ListOptions) => runList(context, options)),
  );
  command.addCommand(
    place(new Command('show'))
      .description('each change of a source transaction: the row before it, what it wrote, and what is there now')
      .argument('<transaction>', 'its name, as `list` prints it')
      .action((name: string, options: DatabaseOptions) => runShow(context, name, options)),
  );
  command.addCommand(
    deciding(new Command('merge'))
      .description('do source transactions again, through the fence, where nothing speaks against it')
      .option('--all', 'every open one')
      .option('--reason <text>', 'for the record', 'merged by hand')
      .addHelpText(
        'after',
        `
Refused, with the reason: where a row was written since or is not as the transaction found it; where its account, a claim
or a request id is there already; where an earlier one that touched the same row is open. Triggers of yours fire again.

Exit code 0: merged. 1: at least one was refused.`,
      )
      .action((names: string[], options: DecideOptions) => runDecide(context, 'merge', names, options)),
  );
  command.addCommand(
    deciding(new Command('discard'))
      .description('never merge source transactions')
      .requiredOption('--reason <text>', 'why, for the record')
      .action((names: string[], options: DecideOptions) => runDecide(context, 'discard', names, options)),
  );
  return command;
}

const place = (command: Command): Command => withPlace(command, 'ask in this data center');

function deciding(command: Command): Command {
  return place(command)
    .argument('[transactions...]', 'their names, as `list` prints them')
    .option('--account <account>', 'all open ones that touch this account, oldest first')
    .option('--by <name>', 'who decides (default: the user of this machine)');
}

async function runList(context: CliContext, options: ListOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const state = states.find((one) => one === options.state);
  if (state === undefined && options.state !== 'all') {
    throw new CommandFailure(`There is no state ${options.state}.`, {
      exitCode: exitCodes.usage,
      hint: `There is ${states.join(', ')} and all.`,
    });
  }
  await withDatabase(context, options, async ({ client }) => {
    const transactions = await listStranded(client, {
      ...(options.account === undefined ? {} : { account: options.account }),
      ...(state === undefined ? {} : { state }),
    });
    for (const transaction of transactions) printTransaction(output, transaction);
    if (transactions.length === 0)
      output.line(`${output.colors.green('✓')} nothing${state === 'open' ? ' is open' : ''}`);
    output.result({ transactions: transactions.map((one) => ({ name: nameOf(one), ...one })) });
  });
}

async function runShow(context: CliContext, written: string, options: DatabaseOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const name = parseName(written);
  await withDatabase(context, options, async (asked) => {
    const [transaction] = await listStranded(asked.client, { transaction: name });
    if (transaction === undefined) throw unknown(written);
    const home = await homeOf(asked.client, transaction);
    // What is there now is best known where it is written.
    const entries =
      home === null || home === asked.dataCenter
        ? await readStranded(asked.client, name)
        : await asked.on(home, (client) => readStranded(client, name));
    printTransaction(output, transaction);
    for (const entry of entries) printEntry(output, entry);
    output.result({ name: written, ...transaction, entries });
  });
}

async function runDecide(
  context: CliContext,
  what: 'merge' | 'discard',
  names: readonly string[],
  options: DecideOptions,
): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const named = names.map(parseName);
  if ([named.length > 0, options.account !== undefined, options.all === true].filter(Boolean).length !== 1) {
    throw new CommandFailure(`Name transactions, or give --account${what === 'merge' ? ' or --all' : ''}.`, {
      exitCode: exitCodes.usage,
      hint: '`lanekeeper stranded list` shows them.',
    });
  }
  const decision: Decision = { by: options.by ?? whoami(), reason: options.reason ?? '' };
  await withDatabase(context, options, async (asked) => {
    const account = options.account === undefined ? {} : { account: options.account };
    const wanted =
      named.length > 0 ? named : await listStranded(asked.client, { ...account, state: 'open', limit: 100_000 });
    const results: { name: string; result: MergeResult }[] = [];
    for (const name of wanted) {
      const result = await decideAtHome(asked, what, name, decision);
      results.push({ name: nameOf(name), result });
      printDecision(output, nameOf(name), result);
    }
    output.result({ results: results.map(({ name, result }) => ({ name, ...result })) });
    const done = results.filter(({ result }) => result.kind === 'merged' || result.kind === 'discarded').length;
    if (results.length > 1) output.line(`${done} of ${count(results.length, 'transaction')}`);
    if (done < results.length) throw new SilentExit(exitCodes.no);
  });
}

/** The ledger is the same in every data center; decisions are made at the home. */
async function decideAtHome(
  asked: Asked,
  what: 'merge' | 'discard',
  name: TransactionName,
  decision: Decision,
): Promise<MergeResult> {
  const work = (client: Client) =>
    what === 'merge' ? mergeStranded(client, name, decision) : discardStranded(client, name, decision);
  const result = await work(asked.client);
  return result.kind === 'elsewhere' ? asked.on(result.home, work) : result;
}

type Asked = {
  readonly dataCenter: DataCenterName;
  readonly client: Client;
  on<T>(dc: DataCenterName, work: (client: Client) => Promise<T>): Promise<T>;
};

async function withDatabase(
  context: CliContext,
  options: DatabaseOptions,
  work: (asked: Asked) => Promise<void>,
): Promise<void> {
  const command = await openDatabaseCommand(context, options);
  const opened = new Map<DataCenterName, Client>();
  const open = async (dc: DataCenterName): Promise<Client> => {
    const present = opened.get(dc);
    if (present) return present;
    const client = await connectAgent(command, dc);
    opened.set(dc, client);
    return client;
  };
  try {
    const { here } = command.configuration;
    const asked: Asked = { dataCenter: here, client: await open(here), on: async (dc, work) => work(await open(dc)) };
    await work(asked);
  } finally {
    await Promise.all([...opened.values()].map((client) => client.end()));
  }
}

async function connectAgent({ connect }: DatabaseCommand, dc: DataCenterName): Promise<Client> {
  const connected = await connect(dc, 'agent')('lanekeeper stranded');
  if (connected.kind === 'unavailable') throw unavailable(connected, dc, 'agent');
  return connected.client;
}

async function homeOf(client: Client, { accounts }: LedgerTransaction): Promise<DataCenterName | null> {
  const { rows } = await client.query<{ home: string }>(
    'SELECT w.home FROM unnest($1::text[]) a, lanekeeper.where_is(a) w LIMIT 1',
    [accounts],
  );
  return rows[0]?.home ?? null;
}

function printDecision(output: Output, name: string, result: MergeResult): void {
  const { colors } = output;
  switch (result.kind) {
    case 'merged':
    case 'discarded':
      return output.line(`${colors.green('✓')} ${name}: ${result.kind}, ${count(result.changes, 'change')}`);
    case 'decided':
      return output.line(
        `${colors.yellow('!')} ${name}: ${result.state} already${result.by ? `, by ${result.by}` : ''}`,
      );
    case 'elsewhere':
      return output.line(`${colors.red('✗')} ${name}: its account has just moved to ${result.home}: try again`);
    case 'unknown':
      return output.line(`${colors.red('✗')} ${name}: there is no such transaction in the ledger`);
    case 'refused': {
      const { code, message, key } = result.refusal;
      const where = key === null || key.length === 0 ? '' : colors.dim(` (key ${key.join(', ')})`);
      return output.line(`${colors.red('✗')} ${name}: not merged (${code}): ${message}${where}`);
    }
  }
}

function parseName(written: string): TransactionName {
  const parts = /^([^/]+)\/(\d{1,9})\/([0-9A-F]{1,8}\/[0-9A-F]{1,8})$/i.exec(written);
  if (!parts) {
    throw new CommandFailure(`${written} is not the name of a transaction.`, {
      exitCode: exitCodes.usage,
      hint: 'They look like ny/1/0/16B3748: `lanekeeper stranded list` shows them.',
    });
  }
  const [, dataCenter = '', generation, endLsn = ''] = parts;
  return { dataCenter, generation: Number(generation), endLsn };
}

function unknown(written: string): CommandFailure {
  return new CommandFailure(`There is no transaction ${written} in the ledger.`, {
    hint: '`lanekeeper stranded list --state all` shows what there is.',
  });
}

function whoami(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    // A container may run as a user that has no name.
    return `somebody@${hostname()}`;
  }
}
