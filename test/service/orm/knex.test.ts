import knex from 'knex';
import PostgresDialect from 'knex/lib/dialects/postgres/index.js';
import * as lanekeeperPg from 'lanekeeper/pg';
import type pg from 'pg';
import { type Connection, ormSuite, type Store } from './suite.ts';

/** Knex has its own pool and takes only the connections from pg. */
function dialectOn(driver: typeof pg): typeof PostgresDialect {
  return class extends PostgresDialect {
    override _driver() {
      return driver;
    }
  };
}

const openWith = ({ url, max }: Connection, driver: typeof pg): Store => {
  const db = knex({ client: dialectOn(driver), connection: url, pool: { min: 0, max } });
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
};

ormSuite('Knex', (connection) => openWith(connection, lanekeeperPg as unknown as typeof pg));
ormSuite('Knex, with routing of connections', (connection) => openWith(connection, connection.lanekeeper.pg), {
  follows: true,
});
