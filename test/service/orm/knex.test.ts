import knex from 'knex';
import PostgresDialect from 'knex/lib/dialects/postgres/index.js';
import * as lanekeeperPg from 'lanekeeper/pg';
import { ormSuite } from './suite.ts';

/** Knex has its own pool and takes only the connections from pg. */
class LanekeeperDialect extends PostgresDialect {
  override _driver() {
    return lanekeeperPg;
  }
}

ormSuite('Knex', ({ url, max }) => {
  const db = knex({ client: LanekeeperDialect, connection: url, pool: { min: 0, max } });
  return {
    placeOrder: ({ id, account, total }) =>
      db.transaction(async (trx) => {
        await trx('orders').insert({ id, account_id: account, total: 0 });
        await trx('orders').where({ id }).update({ total });
      }),
    totalOf: async (id) => (await db('orders').where({ id }).first('total'))?.total ?? null,
    raw: async (sql) => db.raw(sql),
    close: () => db.destroy(),
  };
});
