import * as lanekeeperPg from 'lanekeeper/pg';
import { DataSource, EntitySchema } from 'typeorm';
import { ormSuite } from './suite.ts';

type Order = { id: string; accountId: string; total: number };

const orders = new EntitySchema<Order>({
  name: 'orders',
  columns: {
    id: { type: 'text', primary: true },
    accountId: { type: 'text', name: 'account_id' },
    total: { type: 'integer' },
  },
});

ormSuite('TypeORM', async ({ url, max }) => {
  const source = new DataSource({
    type: 'postgres',
    driver: lanekeeperPg,
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
});
