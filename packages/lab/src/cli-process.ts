/** `lanekeeper lab process SITE NAME ACTION`: stops, kills and starts one process of a running lab, or all of a site. */
import { Argument, Command } from 'commander';
import type { LabContext } from './context.ts';
import type { LabProcess } from './lab/switchboard.ts';
import { runningLab } from './running.ts';

const actions = ['stop', 'kill', 'crash', 'start'] as const;
/** In place of a name. */
const everything = 'all';

export function processCommand(context: LabContext): Command {
  return new Command('process')
    .description('list the processes of a running lab, or stop, kill and start one or all of a site')
    .addArgument(new Argument('[site]', 'a data center, witness or payments'))
    .addArgument(new Argument('[name]', 'postgres, agent, edge, app-1, service …, or all of them: `all`'))
    .addArgument(
      new Argument(
        '[action]',
        '`stop` and `kill` (at once) keep it off until `start`; after `crash` it is started again by itself',
      ).choices(actions),
    )
    .option('--dir <folder>', 'the folder of the lab (default: LANEKEEPER_LAB, else the one started here)')
    .option('--json', 'print {"processes": […]} as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ lanekeeper lab process
  $ lanekeeper lab process payments service stop
  $ lanekeeper lab process ny postgres kill
  $ lanekeeper lab process ny postgres start
  $ lanekeeper lab process ny all kill          a data center dies
  $ lanekeeper lab process ny all start`,
    )
    .action(
      async (
        site: string | undefined,
        name: string | undefined,
        action: string | undefined,
        options: { dir?: string; json?: boolean },
      ) => {
        const { switchboard } = await runningLab(context, options.dir);
        const ask = async (method: string, path: string): Promise<unknown> => {
          const headers = { authorization: `Bearer ${switchboard.token}` };
          const response = await fetch(new URL(path, switchboard.url), { method, headers });
          const body = (await response.json()) as { error?: string };
          if (!response.ok) context.fail(body.error ?? `The lab answered ${response.status}.`, { exitCode: 1 });
          return body;
        };
        const list = async (): Promise<readonly LabProcess[]> => {
          const { processes } = (await ask('GET', '/')) as { processes: readonly LabProcess[] };
          return processes.filter(
            (one) =>
              (site === undefined || one.site === site) &&
              (name === undefined || name === everything || one.name === name),
          );
        };
        const named = await list();
        if (named.length === 0) {
          const known = 'Without arguments this command lists them.';
          context.fail(`There is no ${[name, site].filter(Boolean).join(' in ')} in this lab.`, {
            exitCode: 2,
            hint: known,
          });
        }
        if (action !== undefined) {
          // All at once, as a power cut would; but what needs the database is started when it is there.
          const isFirst = (one: LabProcess): boolean => action === 'start' && one.name === 'postgres';
          for (const some of [named.filter(isFirst), named.filter((one) => !isFirst(one))])
            await Promise.all(some.map((one) => ask('POST', `/${one.site}/${one.name}/${action}`)));
        }
        const processes = await list();
        if (options.json) context.stdout.write(`${JSON.stringify({ processes })}\n`);
        else context.stdout.write(`${render(processes, context)}\n`);
      },
    );
}

function render(processes: readonly LabProcess[], { colors }: LabContext): string {
  return processes
    .map(({ site, name, pid, restarts }) => {
      const state = pid === null ? colors.red('off') : colors.green(`process ${pid}`);
      const often = restarts === 0 ? '' : colors.dim(`  started again ${restarts} times`);
      return `  ${site.padEnd(10)} ${name.padEnd(10)} ${state}${often}`;
    })
    .join('\n');
}
