/**
 * Money that is to move, as an outbox: a row is written in the transaction of its order and done later by whoever may
 * write the order's account (`payment/worker.ts`). `id` is the key under which the payment service knows it.
 */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    CREATE TABLE payments (
      id text PRIMARY KEY,
      order_id text NOT NULL REFERENCES orders ON DELETE CASCADE,
      account_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
      step integer NOT NULL,
      amount integer NOT NULL CHECK (amount <> 0),
      state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'done', 'declined', 'set-aside', 'withdrawn')),
      attempts integer NOT NULL DEFAULT 0,
      failures integer NOT NULL DEFAULT 0,
      due_at timestamptz NOT NULL DEFAULT now(),
      problem text,
      receipt text,
      settled_in text,
      settled_at timestamptz,
      UNIQUE (order_id, step)
    )`.execute(db);
  await sql`CREATE INDEX payments_due ON payments (due_at) WHERE state = 'due'`.execute(db);
  await sql`CREATE INDEX payments_set_aside ON payments (due_at) WHERE state IN ('declined', 'set-aside')`.execute(db);
  await sql`CREATE INDEX payments_of_account ON payments (account_id)`.execute(db);
}

export async function down(db: Kysely<never>): Promise<void> {
  await sql`DROP TABLE payments`.execute(db);
}
