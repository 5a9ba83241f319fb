import type { Lanekeeper } from 'lanekeeper';
import type { Attempts } from './accounts/attempts.ts';
import type { Database } from './database/connect.ts';
import type { PaymentWorker } from './payment/worker.ts';
import type { Settings } from './settings.ts';
import type { Assets } from './web/assets.ts';

/** What the routes work with. */
export type Shop = {
  readonly lanekeeper: Lanekeeper;
  readonly db: Database;
  readonly assets: Assets;
  readonly attempts: Attempts;
  readonly settings: Settings;
  /** Null: this instance charges nothing. */
  readonly payments: PaymentWorker | null;
};
