/** `lanekeeper config`: check a configuration without touching anything, print its JSON Schema; `config-rollout.ts`: compare it. */
import { Command } from 'commander';
import {
  ConfigurationError,
  checkConfigurationFile,
  configurationSchema,
  findConfigurationFile,
  type PlacelessConfiguration,
  placeIn,
} from 'lanekeeper/config';
import { configDiffCommand, configRolloutCommand } from './config-rollout.ts';
import { type CliContext, createOutput, renderForPeople } from './output.ts';

export function configCommand(context: CliContext): Command {
  const command = new Command('config').description(
    'check the configuration, print its schema, compare it with what data centers have',
  );

  command
    .command('check')
    .description('say whether the configuration is right, and where it is not')
    .argument(
      '[file]',
      'the file (default: LANEKEEPER_CONFIG, else lanekeeper.yaml, .yml, .ts, .mjs, .js or .json here)',
    )
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: this is what stands in the file.
      '\nConnects to nothing. Passwords need not be set; variables named as ${NAME} in the file must be.',
    )
    .action((file: string | undefined, options: { json?: boolean }) => check(context, file, options));

  command
    .command('schema')
    .description('print the JSON Schema of the configuration')
    .addHelpText(
      'after',
      '\nFor editors: save it as lanekeeper.schema.json, and begin lanekeeper.yaml with\n  # yaml-language-server: $schema=./lanekeeper.schema.json',
    )
    .action(() => {
      context.stdout.write(`${JSON.stringify(configurationSchema(), null, 2)}\n`);
    });

  command.addCommand(configDiffCommand(context));
  command.addCommand(configRolloutCommand(context));
  return command;
}

async function check(
  context: CliContext,
  file: string | undefined,
  { json }: { readonly json?: boolean },
): Promise<void> {
  const output = createOutput(context, { json });
  const path = findConfigurationFile({ file, env: context.env, directory: context.directory });
  const result = await checkConfigurationFile(path, context.env);
  if (result.kind === 'invalid') throw new ConfigurationError(result.diagnostics);
  const { configuration, warnings } = result;
  if (context.env.LANEKEEPER_DC) placeIn(configuration, context.env.LANEKEEPER_DC);
  if (warnings.length > 0) output.line(`${renderForPeople(warnings, output.colors)}\n`);
  output.line(`${output.colors.green('✓')} ${result.file}: ${summary(configuration)}`);
  output.result({ file: path, valid: true, warnings });
}

function summary({ cluster, approach, dataCenters, tables, claims }: PlacelessConfiguration): string {
  const names = Object.keys(dataCenters);
  const parts = [
    `${count(names.length, 'data center')} (${names.join(', ')})`,
    count(Object.keys(tables).length, 'table'),
    count(Object.keys(claims).length, 'claim'),
  ];
  return `cluster ${cluster}, ${approach}, ${parts.join(', ')}`;
}

function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}
