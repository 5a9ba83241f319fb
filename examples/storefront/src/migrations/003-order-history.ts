/**
 * What a customer has ordered, in sum, up to some moment: a copy that Lanekeeper makes of `orders` and that every data center has, however
 * far away the orders are written (`lanekeeper.yaml`). The shop only reads it.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    CREATE TABLE order_history (
      account_id text PRIMARY KEY,
      orders integer NOT NULL,
      cents integer NOT NULL,
      last_at timestamptz NOT NULL
    )`.execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`DROP TABLE order_history`.execute(db);
}
