/** Starts the payment service: HOST, PORT, and PAYMENT_JOURNAL, the file in which it remembers. */
import { Journal } from './journal.ts';
import { createPaymentService } from './server.ts';

async function main(env: NodeJS.ProcessEnv): Promise<void> {
  const { PAYMENT_JOURNAL: path } = env;
  if (!path) throw new Error('PAYMENT_JOURNAL is not set: in which file is it remembered what was charged?');
  const journal = await Journal.open(path);
  const server = createPaymentService({
    journal,
    limit: number(env.PAYMENT_LIMIT, 1_000_000),
    answerDelayMs: number(env.PAYMENT_ANSWER_DELAY_MS, 0),
  });
  server.listen(number(env.PORT, 3100), env.HOST || '127.0.0.1');
  const stop = (): void => {
    server.close(() => void journal.close());
    server.closeIdleConnections();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop);
}

function number(written: string | undefined, fallback: number): number {
  if (written === undefined || written === '') return fallback;
  if (/^\d+$/.test(written)) return Number(written);
  throw new Error(`\`${written}\`: a whole number is expected.`);
}

try {
  await main(process.env);
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
