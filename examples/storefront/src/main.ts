/** Starts the shop: HOST and PORT from the environment, everything about data centers from Lanekeeper's configuration. */
import { createLanekeeper } from 'lanekeeper';
import { createShop } from './app.ts';
import { readSettings } from './settings.ts';

/** Whoever stops us waits for requests in flight, but not for ever. */
const drainMs = 10_000;

const settings = readSettings(process.env);
const lanekeeper = await createLanekeeper();
const app = await createShop(lanekeeper, settings);

const stop = async (signal: NodeJS.Signals): Promise<void> => {
  app.log.info({ signal }, 'closing');
  setTimeout(() => process.exit(1), drainMs).unref();
  await app.close();
  await lanekeeper.close();
};
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop);

await app.listen({ host: settings.host, port: settings.port });
