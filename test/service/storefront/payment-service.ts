/** The payment service as it is run: a process of its own, at one address, that can be killed and started again. Needs a build. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, type LeashedProcess, spawnLeashed } from '@lanekeeper/lab';
import type { Movement } from '../../../examples/storefront/src/payment-service/journal.ts';
import { until } from './hand-agent.ts';

export type PaymentProcess = {
  readonly url: string;
  /** Starts it, or starts it again; what it remembers is what it remembered. */
  start(env?: NodeJS.ProcessEnv): Promise<void>;
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** From its file, whether it runs or not. */
  movements(order?: string): Promise<Movement[]>;
  /** For good. */
  stop(): Promise<void>;
};

const program = fileURLToPath(new URL('../../../examples/storefront/dist/payment-service/main.js', import.meta.url));

export async function paymentProcess(): Promise<PaymentProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'lanekeeper-payments-'));
  const journal = join(directory, 'journal');
  const port = await freePort('127.0.0.1');
  const url = `http://127.0.0.1:${port}`;
  let running: LeashedProcess | null = null;
  const kill = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    running?.signal(signal);
    await running?.exited;
    running = null;
  };
  return {
    url,
    kill,
    async start(env = {}) {
      await kill('SIGKILL');
      const { PATH, LANEKEEPER_TEST_RUN } = process.env;
      const own = { PATH, ...(LANEKEEPER_TEST_RUN ? { LANEKEEPER_TEST_RUN } : {}) };
      running = await spawnLeashed(process.execPath, [program], {
        env: { ...own, PORT: String(port), PAYMENT_JOURNAL: journal, ...env },
        stdout: 'ignore',
        stderr: 2,
      });
      await until('the payment service answers', () =>
        fetch(`${url}/health`).then(
          ({ ok }) => ok,
          () => false,
        ),
      );
    },
    async movements(order) {
      const text = await readFile(journal, 'utf8').catch(() => '');
      const all = text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Movement]));
      return order === undefined ? all : all.filter((one) => one.order === order);
    },
    async stop() {
      await kill('SIGKILL');
      await rm(directory, { recursive: true, force: true });
    },
  };
}
