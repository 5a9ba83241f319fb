/**
 * Does this instance sell? Four deep checks, on connections of their own, so that a shop whose connections are all busy
 * does not look dead. `PASS` when at least 75 % pass. Writing an order and deleting it again are two of the four: a data
 * center that may not write, for want of a lease, fails, although its catalog can still be read.
 */
import { sql } from 'kysely';
import type { Lanekeeper } from 'lanekeeper';
import { goods } from './catalog/goods.ts';
import { listProducts, readProduct } from './catalog/products.ts';
import { connect, type Database, type Writer } from './database/connect.ts';
import { queueCharge } from './payment/outbox.ts';

export type CheckName = 'write an order' | 'delete an order' | 'read a product' | 'search';

export type CheckResult = {
  readonly name: CheckName;
  readonly passed: boolean;
  readonly durationMs: number;
  /** Why it did not pass. */
  readonly reason?: string;
};

export type Health = {
  readonly status: 'PASS' | 'FAIL';
  /** Share of the checks that passed, from 0 to 1. */
  readonly passed: number;
  readonly checks: readonly CheckResult[];
};

const threshold = 0.75;

/** A check that takes longer has failed. */
const timeoutMs = 3000;

/** Many may ask; the checks run at most this often. */
const keptMs = 500;

export function judge(checks: readonly CheckResult[]): Health {
  const passed = checks.filter((check) => check.passed).length / checks.length;
  return { status: passed >= threshold ? 'PASS' : 'FAIL', passed, checks };
}

export class HealthChecks {
  readonly #lanekeeper: Lanekeeper;
  readonly #db: Database;
  #running: Promise<Health> | null = null;

  constructor(lanekeeper: Lanekeeper) {
    this.#lanekeeper = lanekeeper;
    const pool = lanekeeper.pool({
      max: 3,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      application_name: 'storefront health',
    });
    this.#db = connect(pool);
  }

  look(): Promise<Health> {
    if (this.#running === null) {
      this.#running = this.#check();
      const forget = () => {
        this.#running = null;
      };
      void this.#running.then(() => setTimeout(forget, keptMs).unref());
    }
    return this.#running;
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }

  async #check(): Promise<Health> {
    const sample = goods[0]!;
    const [order, product, search] = await Promise.all([
      this.#orderChecks(),
      check('read a product', async () => {
        if ((await readProduct(this.#db, sample.sku)) === null) throw new Error(`${sample.sku} is not there`);
      }),
      check('search', async () => {
        const found = await listProducts(this.#db, { query: sample.name });
        if (found.length === 0) throw new Error(`“${sample.name}” finds nothing`);
      }),
    ]);
    return judge([...order, product, search]);
  }

  /** Everything a real order does, the checks at commit included, and then nothing of it is kept. */
  async #orderChecks(): Promise<[CheckResult, CheckResult]> {
    const account = this.#lanekeeper.id('health');
    const order = this.#lanekeeper.id('ord');
    let written: CheckResult | undefined;
    let deleted: CheckResult | undefined;
    try {
      await this.#db.transaction().execute(async (trx) => {
        written = await check('write an order', () => this.#writeOrder(trx, account, order));
        if (written.passed) deleted = await check('delete an order', () => deleteOrder(trx, order));
        throw new RolledBack();
      });
    } catch (error) {
      if (!(error instanceof RolledBack)) written ??= failed('write an order', error);
    }
    return [
      written ?? failed('write an order', new Error('it did not begin')),
      deleted ?? failed('delete an order', new Error('there was none to delete')),
    ];
  }

  async #writeOrder(trx: Writer, account: string, order: string): Promise<void> {
    const { sku, name, price } = goods[0]!;
    await trx
      .insertInto('accounts')
      .values({ id: account, name: 'health', ...nobody })
      .execute();
    await trx
      .insertInto('orders')
      .values({ id: order, account_id: account, note: '', total: price, placed_in: this.#lanekeeper.here })
      .execute();
    await trx.insertInto('order_lines').values({ order_id: order, sku, name, price, quantity: 1 }).execute();
    await queueCharge(trx, { order, account, amount: price });
    await sql`SET CONSTRAINTS ALL IMMEDIATE`.execute(trx);
  }
}

const nobody = { email: null, password_hash: null, merged_into: null };

async function deleteOrder(trx: Writer, order: string): Promise<void> {
  const deleted = await trx.deleteFrom('orders').where('id', '=', order).executeTakeFirst();
  if (deleted.numDeletedRows !== 1n) throw new Error('the order was not there');
  const left = await trx.selectFrom('order_lines').select('id').where('order_id', '=', order).executeTakeFirst();
  if (left !== undefined) throw new Error('its lines are still there');
}

class RolledBack extends Error {}

async function check(name: CheckName, run: () => Promise<void>): Promise<CheckResult> {
  const startedAt = performance.now();
  try {
    await run();
    return { name, passed: true, durationMs: since(startedAt) };
  } catch (error) {
    return { ...failed(name, error), durationMs: since(startedAt) };
  }
}

function failed(name: CheckName, error: unknown): CheckResult {
  const reason = error instanceof Error ? error.message : String(error);
  return { name, passed: false, durationMs: 0, reason };
}

function since(startedAt: number): number {
  return Math.round((performance.now() - startedAt) * 10) / 10;
}
