import { PrismaPg } from '@prisma/adapter-pg';
import { afterAll, beforeAll } from 'vitest';
import { generatePrismaClient, type PrismaModule } from './prisma-client.ts';
import { ormSuite } from './suite.ts';

let generated: { module: PrismaModule; remove(): Promise<void> };

beforeAll(async () => {
  generated = await generatePrismaClient();
});
afterAll(() => generated?.remove());

/** By default Prisma gives up on a transaction that has waited 2 s for a connection, or has been open for 5 s. */
const patient = { maxWait: 60_000, timeout: 60_000 };

ormSuite("Prisma's pg adapter", ({ lanekeeper, max }) => {
  const pool = lanekeeper.pool({ max });
  const prisma = new generated.module.PrismaClient({ adapter: new PrismaPg(pool) });
  return {
    placeOrder: ({ id, account, total }) =>
      prisma.$transaction(async (tx) => {
        await tx.orders.create({ data: { id, account_id: account, total: 0 } });
        await tx.orders.update({ where: { id }, data: { total } });
      }, patient),
    totalOf: async (id) => (await prisma.orders.findUnique({ where: { id } }))?.total ?? null,
    raw: (sql) => prisma.$executeRawUnsafe(sql),
    close: async () => {
      await prisma.$disconnect();
      await pool.end();
    },
  };
});
