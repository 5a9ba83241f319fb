import { sql } from 'kysely';
import { goods } from '../catalog/goods.ts';
import type { Database } from './connect.ts';

/** Puts the catalog into the database, as its owner; writes only rows that differ. Returns how many it wrote. */
export function seed(db: Database): Promise<number> {
  return db.transaction().execute(async (transaction) => {
    // Where Lanekeeper is, nobody writes products, not even here, but in a transaction that says that it publishes them.
    const { rows } = await sql<{ here: boolean }>`
      SELECT to_regprocedure('lanekeeper.publishing(text[])') IS NOT NULL AS here`.execute(transaction);
    if (rows[0]?.here) await sql`SELECT lanekeeper.publishing('products')`.execute(transaction);
    return write(transaction);
  });
}

async function write(db: Database): Promise<number> {
  const rows = goods.map(({ madeIn, ...good }, position) => ({ ...good, made_in: madeIn, position }));
  const result = await db
    .insertInto('products')
    .values(rows)
    .onConflict((conflict) =>
      conflict
        .column('sku')
        .doUpdateSet((eb) => ({
          name: eb.ref('excluded.name'),
          category: eb.ref('excluded.category'),
          price: eb.ref('excluded.price'),
          summary: eb.ref('excluded.summary'),
          description: eb.ref('excluded.description'),
          size: eb.ref('excluded.size'),
          made_in: eb.ref('excluded.made_in'),
          stock: eb.ref('excluded.stock'),
          position: eb.ref('excluded.position'),
        }))
        .where(sql<boolean>`products IS DISTINCT FROM excluded`),
    )
    .executeTakeFirst();
  return Number(result.numInsertedOrUpdatedRows ?? 0);
}
