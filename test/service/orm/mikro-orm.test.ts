import { EntitySchema, MikroORM } from '@mikro-orm/core';
import { PostgreSqlDriver, PostgreSqlKnexDialect } from '@mikro-orm/postgresql';
import * as lanekeeperPg from 'lanekeeper/pg';
import { ormSuite } from './suite.ts';

type Order = { id: string; accountId: string; total: number };

const orders = new EntitySchema<Order>({
  name: 'Order',
  tableName: 'orders',
  properties: {
    id: { type: 'text', primary: true },
    accountId: { type: 'text', fieldName: 'account_id' },
    total: { type: 'integer' },
  },
});

class LanekeeperDialect extends PostgreSqlKnexDialect {
  _driver() {
    return lanekeeperPg;
  }
}

ormSuite('MikroORM', async ({ url, max }) => {
  const orm = await MikroORM.init({
    driver: PostgreSqlDriver,
    clientUrl: url,
    pool: { min: 0, max },
    driverOptions: { client: LanekeeperDialect },
    entities: [orders],
  });
  return {
    placeOrder: ({ id, account, total }) =>
      orm.em.fork().transactional(async (em) => {
        const order = em.create(orders, { id, accountId: account, total: 0 });
        await em.persist(order).flush();
        order.total = total;
      }),
    totalOf: async (id) => (await orm.em.fork().findOne(orders, { id }))?.total ?? null,
    raw: (sql) => orm.em.fork().getConnection().execute(sql),
    close: () => orm.close(),
  };
});
