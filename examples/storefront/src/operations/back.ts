/** What the work is done with, and for whom. */
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Lanekeeper, RequestScope } from 'lanekeeper';
import { Attempts } from '../accounts/attempts.ts';
import { connect, type Database } from '../database/connect.ts';
import { PaymentWorker } from '../payment/worker.ts';
import type { Settings } from '../settings.ts';

export type Back = {
  readonly lanekeeper: Lanekeeper;
  readonly db: Database;
  readonly attempts: Attempts;
  readonly settings: Settings;
  /** Null: this instance charges nothing. */
  readonly payments: PaymentWorker | null;
};

/** One request of one visitor. */
export type Caller = {
  readonly scope: RequestScope;
  /** His address, for the limit of sign-in attempts. */
  readonly address: string;
  readonly log: FastifyBaseLogger;
};

export function openBack(lanekeeper: Lanekeeper, settings: Settings, log: FastifyBaseLogger): Back {
  const pool = lanekeeper.pool({ max: 10, application_name: `storefront ${lanekeeper.instance}` });
  const db = connect(pool, (error) => log.warn({ err: error }, 'an idle connection broke'));
  const { paymentUrl } = settings;
  const payments = paymentUrl === null ? null : new PaymentWorker({ lanekeeper, db, url: paymentUrl, log });
  return { lanekeeper, db, attempts: new Attempts(), settings, payments };
}

export function callerOf(request: FastifyRequest): Caller {
  return { scope: request.lanekeeper, address: request.ip, log: request.log };
}
