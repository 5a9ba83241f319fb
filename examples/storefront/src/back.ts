/** Starts the back of the shop: its database, as JSON for frontends. */
import { createLanekeeper } from 'lanekeeper';
import { createBack } from './app.ts';
import { start } from './start.ts';

await start(async (settings) => {
  const lanekeeper = await createLanekeeper();
  return { app: await createBack(lanekeeper, settings), close: () => lanekeeper.close() };
});
