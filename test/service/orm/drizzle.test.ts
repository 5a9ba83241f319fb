import { eq, sql as raw } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { ormSuite } from './suite.ts';

const orders = pgTable('orders', {
  id: text('id').primaryKey(),
  accountId: text('account_id').notNull(),
  total: integer('total').notNull(),
});

ormSuite('Drizzle', ({ lanekeeper, max }) => {
  const pool = lanekeeper.pool({ max });
  const db = drizzle({ client: pool });
  return {
    placeOrder: ({ id, account, total }) =>
      db.transaction(async (tx) => {
        await tx.insert(orders).values({ id, accountId: account, total: 0 });
        await tx.update(orders).set({ total }).where(eq(orders.id, id));
      }),
    totalOf: async (id) =>
      (await db.select({ total: orders.total }).from(orders).where(eq(orders.id, id)))[0]?.total ?? null,
    raw: (sql) => db.execute(raw.raw(sql)),
    close: () => pool.end(),
  };
});
