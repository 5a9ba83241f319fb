import * as lanekeeperPg from 'lanekeeper/pg';
import type pg from 'pg';
import { DataSource, EntitySchema } from 'typeorm';
import { type Connection, ormSuite, type Store } from './suite.ts';

type Order = { id: string; accountId: string; total: number };

const orders = new EntitySchema<Order>({
  name: 'orders',
  columns: {
    id: { type: 'text', primary: true },
    accountId: { type: 'text', name: 'account_id' },
    total: { type: 'integer' },
  },
});

const openWith = async ({ url, max }: Connection, driver: typeof pg): Promise<Store> => {
  const source = new DataSource({
    type: 'postgres',
    driver,
    url,
    poolSize: max,
    entities: [orders],
    installExtensions: false,
  });
  await source.initialize();
  return {
    placeOrder: ({ id, account, total }) =>
      source.transaction(async (manager) => {
        await manager.insert(orders, { id, accountId: account, total: 0 });
        await manager.update(orders, { id }, { total });
      }),
    totalOf: async (id) => (await source.manager.findOneBy(orders, { id }))?.total ?? null,
    raw: (sql) => source.query(sql),
    close: () => source.destroy(),
  };
};

ormSuite('TypeORM', (connection) => openWith(connection, lanekeeperPg as unknown as typeof pg));
ormSuite('TypeORM, with routing of connections', (connection) => openWith(connection, connection.lanekeeper.pg), {
  follows: true,
});
