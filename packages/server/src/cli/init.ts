/** `lanekeeper init`: a first configuration with comments, and a key pair for each data center. Overwrites nothing. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { dataCenterNamePattern, defaultFiles, maxDataCenters } from 'lanekeeper/config';
import { type ApproachName, approaches } from 'lanekeeper/model';
import { generateKeyPair } from 'lanekeeper/session';
import { firstConfiguration } from './init-template.ts';
import { writePrivateKey } from './keys.ts';
import { type CliContext, CommandFailure, createOutput } from './output.ts';

type InitOptions = {
  readonly cluster: string;
  readonly dataCenters: readonly string[];
  readonly approach: ApproachName;
  readonly stride: number;
  readonly dir: string;
  readonly json?: boolean;
};

export function initCommand(context: CliContext): Command {
  return new Command('init')
    .description('write a first configuration and a key pair for each data center')
    .option('--cluster <name>', 'name of the whole', clusterName, 'shop')
    .option('--data-centers <names>', 'short names, with commas', dataCenterNames, ['ny', 'la'])
    .addOption(
      new Option('--approach <name>', 'how the data centers share the work')
        .choices(Object.keys(approaches))
        .default('full-active-active'),
    )
    .option('--stride <n>', 'the most data centers there can ever be; cannot be changed later', stride, 8)
    .option('--dir <directory>', 'where to write', '.')
    .option('--json', 'print the names of the files as JSON')
    .addHelpText(
      'after',
      `
Writes lanekeeper.yaml, keys.json with the public keys, and <dc>.key.json with a private key for each data center
(readable by its owner only). Nothing that exists is overwritten.

Example:
  $ lanekeeper init --cluster shop --data-centers ny,la,fra`,
    )
    .action((options: InitOptions) => init(context, options));
}

function init(context: CliContext, { cluster, dataCenters, approach, stride, dir, json }: InitOptions): void {
  const output = createOutput(context, { json });
  const directory = resolve(context.directory, dir);
  const privateFiles = dataCenters.map((name) => `${name}.key.json`);
  // Any of the names a configuration may have: a second one beside it would leave the next command without a choice.
  for (const file of [...defaultFiles, 'keys.json', ...privateFiles]) {
    if (existsSync(join(directory, file)))
      throw new CommandFailure(`${join(dir, file)} is there already; nothing was written.`, {
        hint: 'Choose another directory with --dir.',
      });
  }
  mkdirSync(directory, { recursive: true });
  const pairs = dataCenters.map((name) => generateKeyPair(name));
  for (const [index, { privateJwk }] of pairs.entries())
    writePrivateKey(join(directory, privateFiles[index]!), join(dir, privateFiles[index]!), privateJwk);
  write(
    join(directory, 'keys.json'),
    `${JSON.stringify({ keys: pairs.map(({ publicJwk }) => publicJwk) }, null, 2)}\n`,
  );
  write(join(directory, 'lanekeeper.yaml'), firstConfiguration({ cluster, dataCenters, approach, stride }));

  const { bold, dim } = output.colors;
  output.line(
    `${bold(join(dir, 'lanekeeper.yaml'))}  the configuration: fill in places, addresses and tables, then run \`lanekeeper config check\``,
  );
  output.line(`${bold(join(dir, 'keys.json'))}  the public keys of all data centers; goes with the configuration`);
  for (const [index, name] of dataCenters.entries()) {
    output.line(
      `${bold(join(dir, privateFiles[index]!))}  the private key of ${name}: bring it there, then delete it here ${dim('(LANEKEEPER_SIGNING_KEY_FILE)')}`,
    );
  }
  output.line(`\nKeep *.key.json out of version control. The stride is ${stride} for the life of this cluster.`);
  output.result({ files: ['lanekeeper.yaml', 'keys.json', ...privateFiles].map((file) => join(dir, file)) });
}

function write(path: string, text: string): void {
  writeFileSync(path, text, { flag: 'wx' });
}

function clusterName(text: string): string {
  if (!/^[a-z][a-z0-9_-]{0,30}$/.test(text))
    throw new InvalidArgumentError('A lower-case letter, then lower-case letters, digits, - and _, at most 31.');
  return text;
}

function dataCenterNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) {
    if (!dataCenterNamePattern.test(name))
      throw new InvalidArgumentError(
        `\`${name}\`: a lower-case letter, then lower-case letters and digits, at most 15.`,
      );
  }
  if (new Set(names).size < names.length) throw new InvalidArgumentError('The same name twice.');
  if (names.length > maxDataCenters) throw new InvalidArgumentError(`At most ${maxDataCenters} data centers.`);
  return names;
}

function stride(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 2 || value > 64)
    throw new InvalidArgumentError('A whole number from 2 to 64.');
  return value;
}
