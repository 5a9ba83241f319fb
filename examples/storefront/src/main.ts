/** Starts the shop, front and back in one process. */
import { createLanekeeper } from 'lanekeeper';
import { createShop } from './app.ts';
import { start } from './start.ts';

await start(async (settings) => {
  const lanekeeper = await createLanekeeper();
  return { app: await createShop(lanekeeper, settings), close: () => lanekeeper.close() };
});
