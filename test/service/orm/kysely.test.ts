import { CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import { type OpenStore, ormSuite } from './suite.ts';

type Tables = { orders: { id: string; account_id: string; total: number } };

const open: OpenStore = ({ lanekeeper, max }) => {
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: lanekeeper.pool({ max }) }) });
  return {
    placeOrder: ({ id, account, total }) =>
      db.transaction().execute(async (trx) => {
        await trx.insertInto('orders').values({ id, account_id: account, total: 0 }).execute();
        await trx.updateTable('orders').set({ total }).where('id', '=', id).execute();
      }),
    totalOf: async (id) =>
      (await db.selectFrom('orders').select('total').where('id', '=', id).executeTakeFirst())?.total ?? null,
    raw: (sql) => db.executeQuery(CompiledQuery.raw(sql)),
    close: () => db.destroy(),
  };
};

ormSuite('Kysely', open);
ormSuite('Kysely, with routing of connections', open, { follows: true });
