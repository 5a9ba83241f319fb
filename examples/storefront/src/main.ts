/** Starts the shop: HOST and PORT from the environment, everything about data centers from Lanekeeper's configuration. */
import { createLanekeeper, LanekeeperError } from 'lanekeeper';
import { createShop } from './app.ts';
import { readSettings, SettingsError } from './settings.ts';

/** Whoever stops us waits for requests in flight, but not for ever. */
const closeWithinMs = 10_000;

async function main(): Promise<void> {
  const settings = readSettings(process.env);
  const lanekeeper = await createLanekeeper();
  const app = await createShop(lanekeeper, settings);
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    app.log.info({ signal }, 'closing');
    setTimeout(() => process.exit(1), closeWithinMs).unref();
    await app.close();
    await lanekeeper.close();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop);
  await app.listen({ host: settings.host, port: settings.port });
}

try {
  await main();
} catch (error) {
  // What somebody wrote wrongly is told without a stack; anything else is a bug of ours.
  const expected = error instanceof SettingsError || (error instanceof LanekeeperError && error.code === 'LK_CONFIG');
  console.error(expected ? error.message : error);
  process.exit(1);
}
