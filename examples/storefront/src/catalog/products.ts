/** Reads the catalog. Nothing here writes: products are published by their feeder. */
import { type Selectable, sql } from 'kysely';
import type { Reader } from '../database/connect.ts';
import type { ShopTables } from '../database/tables.ts';

export type Product = {
  readonly sku: string;
  readonly name: string;
  readonly category: string;
  /** US cents. */
  readonly price: number;
  readonly summary: string;
  readonly description: string;
  readonly size: string;
  readonly madeIn: string;
  readonly stock: string;
};

export type ProductFilter = { readonly query?: string; readonly category?: string };

export async function listProducts(db: Reader, { query, category }: ProductFilter = {}): Promise<Product[]> {
  let select = db.selectFrom('products').selectAll().orderBy('position');
  if (category !== undefined) select = select.where('category', '=', category);
  const words = query?.trim();
  if (words) {
    // Whole words by their stems ("mugs" finds "mug"), and beginnings of the name for those who are still typing.
    const text = sql`to_tsvector('english', name || ' ' || summary || ' ' || description || ' ' || made_in)`;
    const pattern = `%${words.replaceAll(/[\\%_]/g, '\\$&')}%`;
    select = select.where((eb) =>
      eb.or([sql<boolean>`${text} @@ websearch_to_tsquery('english', ${words})`, eb('name', 'ilike', pattern)]),
    );
  }
  return (await select.execute()).map(product);
}

export async function readProduct(db: Reader, sku: string): Promise<Product | null> {
  const row = await db.selectFrom('products').selectAll().where('sku', '=', sku).executeTakeFirst();
  return row === undefined ? null : product(row);
}

function product({ made_in, position, ...row }: Selectable<ShopTables['products']>): Product {
  return { ...row, madeIn: made_in };
}
