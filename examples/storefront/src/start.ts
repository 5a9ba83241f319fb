/** How each of the programs begins and ends. */
import type { FastifyInstance } from 'fastify';
import { LanekeeperError } from 'lanekeeper/model';
import { readSettings, type Settings, SettingsError } from './settings.ts';

/** Whoever stops us waits for requests in flight, but not for ever. */
const closeWithinMs = 10_000;

export type Program = { readonly app: FastifyInstance; close(): Promise<void> | void };

/** HOST and PORT from the environment, everything about data centers from Lanekeeper's configuration. */
export async function start(open: (settings: Settings) => Promise<Program>): Promise<void> {
  try {
    const settings = readSettings(process.env);
    const { app, close } = await open(settings);
    const stop = async (signal: NodeJS.Signals): Promise<void> => {
      app.log.info({ signal }, 'closing');
      setTimeout(() => process.exit(1), closeWithinMs).unref();
      await app.close();
      await close();
    };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stop);
    await app.listen({ host: settings.host, port: settings.port });
  } catch (error) {
    // What somebody wrote wrongly is told without a stack; anything else is a bug of ours.
    const expected = error instanceof SettingsError || (error instanceof LanekeeperError && error.code === 'LK_CONFIG');
    console.error(expected ? error.message : error);
    process.exit(1);
  }
}
