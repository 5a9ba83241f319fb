/** Starts the front of the shop: its pages. It has no database and calls the backends of whichever data center it takes. */
import { createFrontend } from 'lanekeeper/frontend';
import { start } from './start.ts';
import { createFront } from './web/stateless.ts';

await start(async (settings) => {
  const frontend = await createFrontend();
  const instance = process.env.LANEKEEPER_INSTANCE || `${frontend.here}-front-${process.pid}`;
  return { app: await createFront(frontend, settings, instance), close: () => frontend.close() };
});
