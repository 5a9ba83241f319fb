/** What the pages work with. They know of the shop (`../shop/shop.ts`) and of the visitor; of no database. */
import type { FastifyRequest } from 'fastify';
import type { Configuration } from 'lanekeeper/config';
import type { Attempts } from '../accounts/attempts.ts';
import type { Health } from '../health.ts';
import type { Settings } from '../settings.ts';
import type { Shop } from '../shop/shop.ts';
import type { Assets } from './assets.ts';

/** What is known of a visitor without asking anybody. */
export type Session = {
  readonly account: string | null;
  readonly home: string | null;
  readonly requestId: string;
};

export type Front = {
  readonly here: string;
  readonly instance: string;
  readonly dataCenters: Configuration['dataCenters'];
  readonly settings: Settings;
  readonly assets: Assets;
  /** At the desk's door. */
  readonly attempts: Attempts;
  /** The shop as this visitor finds it. */
  shop(request: FastifyRequest): Shop;
  /** Null for a request that could not even be routed: then nobody has looked at its session. */
  session(request: FastifyRequest): Session | null;
  /** The absolute URL of a path of this site in another data center. */
  addressIn(request: FastifyRequest, dataCenter: string, path: string): string;
  health(): Promise<Pick<Health, 'status'>>;
};
