/** `lanekeeper lab status` and `lab stop`. */
import { join } from 'node:path';
import { Command } from 'commander';
import { renderDirections } from './cli-link.ts';
import type { LabContext } from './context.ts';
import { LinksClient } from './links/client.ts';
import { isSameProcess, sleepMs } from './processes/observe.ts';
import { runningLab } from './running.ts';

const stopTimeoutMs = 60_000;

export function stopCommand(context: LabContext): Command {
  return new Command('stop')
    .description('stop a running lab, and everything in it')
    .option('--dir <folder>', 'the folder of the lab (default: LANEKEEPER_LAB, else the one started here)')
    .option('--json', 'print {"stopped": dir} as JSON')
    .action(async (options: { dir?: string; json?: boolean }) => {
      const lab = await runningLab(context, options.dir);
      process.kill(lab.pid, 'SIGTERM');
      const deadlineMs = performance.now() + stopTimeoutMs;
      while (await isSameProcess(lab.pid, lab.processStart)) {
        if (performance.now() > deadlineMs) {
          context.fail(`The lab (process ${lab.pid}) has not stopped after ${stopTimeoutMs / 1000} s.`);
        }
        await sleepMs(100);
      }
      context.stdout.write(
        options.json ? `${JSON.stringify({ stopped: lab.dir })}\n` : `Stopped the lab in ${lab.dir}.\n`,
      );
    });
}

type ServiceReport = { readonly url: string; readonly answers: boolean; readonly status: number | null };

export function statusCommand(context: LabContext): Command {
  return new Command('status')
    .description('what runs in a lab, and its links')
    .option('--dir <folder>', 'the folder of the lab (default: LANEKEEPER_LAB, else the one started here)')
    .option('--json', 'print it as JSON')
    .action(async (options: { dir?: string; json?: boolean }) => {
      const lab = await runningLab(context, options.dir);
      const services: Record<string, ServiceReport> = {};
      await Promise.all(
        Object.entries(lab.dataCenters).flatMap(([name, dc]) =>
          [
            [`${name} edge`, dc.edge, '/'] as const,
            [`${name} agent`, dc.agent, '/health'] as const,
            ...dc.apps.map((url, index) => [`${name} app ${index + 1}`, url, '/'] as const),
            ...dc.backends.map((url, index) => [`${name} backend ${index + 1}`, url, '/health'] as const),
          ].map(async ([label, url, path]) => {
            services[label] = await look(url, path);
          }),
        ),
      );
      if (lab.payments) services['payment service'] = await look(lab.payments, '/health');
      const { directions } = await new LinksClient(lab.links).state();
      if (options.json) {
        context.stdout.write(
          `${JSON.stringify({ dir: lab.dir, approach: lab.approach, services, links: directions })}\n`,
        );
        return;
      }
      const { colors } = context;
      const lines = Object.entries(services)
        .sort(([a], [b]) => a.localeCompare(b))
        .map(([label, { url, answers, status }]) => {
          const well = answers && (status ?? 500) < 500;
          const state = well ? colors.green('answers') : colors.red(answers ? `status ${status}` : 'silent');
          return `  ${label.padEnd(22)} ${state}  ${colors.dim(url)}`;
        });
      context.stdout.write(
        `${[`${colors.bold('Approach')}  ${lab.approach}`, '', colors.bold('Services'), ...lines, '', colors.bold('Links'), renderDirections(directions, context), '', colors.dim(`Logs in ${join(lab.dir, 'logs')}`)].join('\n')}\n`,
      );
    });
}

async function look(url: string, path: string): Promise<ServiceReport> {
  try {
    const response = await fetch(new URL(path, url), { redirect: 'manual', signal: AbortSignal.timeout(3_000) });
    await response.arrayBuffer();
    return { url, answers: true, status: response.status };
  } catch {
    return { url, answers: false, status: null };
  }
}
