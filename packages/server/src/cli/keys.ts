/** `lanekeeper keys`: key pairs with which data centers sign sessions and recognise each other. */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import {
  checkConfigurationFile,
  dataCenterNamePattern,
  dataCenterOfKeyId,
  findConfigurationFile,
} from 'lanekeeper/config';
import { generateKeyPair } from 'lanekeeper/session';
import { type CliContext, CommandFailure, createOutput, exitCodes } from './output.ts';

type NewOptions = {
  readonly dc: string;
  readonly number?: number;
  readonly out?: string;
  readonly config?: string;
  readonly json?: boolean;
};

export function keysCommand(context: CliContext): Command {
  const command = new Command('keys').description('make signing keys');
  command
    .command('new')
    .description('make a key pair for one data center')
    .requiredOption('--dc <name>', 'the data center whose key it is', dataCenterName)
    .option('--number <n>', 'the number in its key id (default: one more than the configuration has)', keyNumber)
    .option('--out <file>', 'write the private key to this file, readable by its owner only, instead of printing it')
    .option('--config <file>', 'the configuration to count keys in')
    .option('--json', 'print {"privateKey", "publicKey"} as JSON')
    .addHelpText(
      'after',
      `
Rotation: make the next key, add its public half to \`sessions.keys\` in every data center, restart them all;
only then give the private half to the data center, and remove the old public half when \`sessions.maxAge\` has passed.

Examples:
  $ lanekeeper keys new --dc ny
  $ lanekeeper keys new --dc ny --out ny.key.json`,
    )
    .action((options: NewOptions) => makeKey(context, options));
  return command;
}

async function makeKey(context: CliContext, options: NewOptions): Promise<void> {
  const output = createOutput(context, { json: options.json });
  const number = options.number ?? (await nextNumber(context, options));
  const { privateJwk, publicJwk } = generateKeyPair(options.dc, number);
  const { bold, dim } = output.colors;
  if (options.out !== undefined) writePrivateKey(resolve(context.directory, options.out), options.out, privateJwk);

  output.line(bold(`Private key ${privateJwk.kid}`));
  output.line(
    options.out === undefined
      ? `${JSON.stringify(privateJwk)}\n${dim(`A secret of ${options.dc}: give it to its agents, edges and applications as LANEKEEPER_SIGNING_KEY,\nor in a file named by LANEKEEPER_SIGNING_KEY_FILE. It belongs in no configuration and in no other data center.`)}`
      : `is in ${options.out}. ${dim(`Name it to the agents, edges and applications of ${options.dc} as LANEKEEPER_SIGNING_KEY_FILE.`)}`,
  );
  output.line(`\n${bold(`Public key ${publicJwk.kid}`)}`);
  output.line(JSON.stringify(publicJwk));
  output.line(
    dim('Add it to `sessions.keys` (or to the file named there) of every data center, before the private key is used.'),
  );
  output.result({
    ...(options.out === undefined ? { privateKey: privateJwk } : { privateKeyFile: options.out }),
    publicKey: publicJwk,
  });
}

/** The next number for the data center; 1 where there is no configuration yet. A broken one is a reason to stop. */
async function nextNumber(context: CliContext, { dc, config }: NewOptions): Promise<number> {
  let file: string;
  try {
    file = findConfigurationFile({ file: config, env: context.env, directory: context.directory });
  } catch (error) {
    if (config !== undefined || context.env.LANEKEEPER_CONFIG) throw error;
    return 1;
  }
  const result = await checkConfigurationFile(file, context.env);
  if (result.kind === 'invalid') {
    throw new CommandFailure(
      `The configuration ${file} has mistakes, so the next number of a key of ${dc} is not known.`,
      {
        exitCode: exitCodes.configuration,
        hint: 'Run `lanekeeper config check`, or say --number.',
      },
    );
  }
  const numbers = result.configuration.sessions.keys.flatMap(({ kid }) =>
    typeof kid === 'string' && dataCenterOfKeyId(kid) === dc ? [Number(kid.slice(dc.length + 1))] : [],
  );
  return Math.max(0, ...numbers) + 1;
}

/** Never over an existing file: the key that would be lost may be in use. */
export function writePrivateKey(path: string, shown: string, key: unknown): void {
  try {
    writeFileSync(path, `${JSON.stringify(key, null, 2)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandFailure(
      code === 'EEXIST' ? `${shown} is there already and is not overwritten.` : `${shown} cannot be written (${code}).`,
    );
  }
}

function dataCenterName(text: string): string {
  if (!dataCenterNamePattern.test(text))
    throw new InvalidArgumentError(
      'A lower-case letter, then lower-case letters and digits, at most 15, for example ny.',
    );
  return text;
}

function keyNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('A whole number from 1.');
  return Number(text);
}
