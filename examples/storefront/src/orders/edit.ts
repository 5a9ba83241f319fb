/** What the desk may do to an order. */
import type { Writer } from '../database/connect.ts';
import { chargeInstead } from '../payment/outbox.ts';

export type Change =
  | {
      readonly kind: 'edit';
      /** By sku; 0 takes the line off. Lines that are not named stay as they are. */
      readonly quantities: Readonly<Record<string, number>>;
      readonly note: string;
    }
  | { readonly kind: 'cancel' };

export type Changed =
  | { readonly kind: 'changed' }
  | { readonly kind: 'not-found' }
  /** Somebody changed it after it was shown. */
  | { readonly kind: 'stale' }
  | { readonly kind: 'cancelled-before' }
  /** Nothing would be left: that is a cancellation, and should be asked for as one. */
  | { readonly kind: 'nothing-left' };

/** `revision` is the one that was shown to whoever asks for the change; null takes the order as it is. */
export async function changeOrder(
  trx: Writer,
  { order, revision, change }: { readonly order: string; readonly revision: number | null; readonly change: Change },
): Promise<Changed> {
  const found = await trx
    .selectFrom('orders')
    .select(['revision', 'status'])
    .where('id', '=', order)
    .forUpdate()
    .executeTakeFirst();
  if (found === undefined) return { kind: 'not-found' };
  if (revision !== null && found.revision !== revision) return { kind: 'stale' };
  if (found.status === 'cancelled') return { kind: 'cancelled-before' };
  const next = { revision: found.revision + 1, updated_at: new Date() };
  if (change.kind === 'cancel') {
    await trx
      .updateTable('orders')
      .set({ ...next, status: 'cancelled' })
      .where('id', '=', order)
      .execute();
    await chargeInstead(trx, { order, revision: next.revision, total: 0 });
    return { kind: 'changed' };
  }
  const lines = await trx
    .selectFrom('order_lines')
    .select(['sku', 'price', 'quantity'])
    .where('order_id', '=', order)
    .execute();
  const wanted = lines.map((line) => ({ ...line, next: change.quantities[line.sku] ?? line.quantity }));
  if (wanted.every((line) => line.next === 0)) return { kind: 'nothing-left' };
  for (const line of wanted) {
    if (line.next === line.quantity) continue;
    const of = { order_id: order, sku: line.sku };
    if (line.next === 0)
      await trx
        .deleteFrom('order_lines')
        .where((eb) => eb.and(of))
        .execute();
    else
      await trx
        .updateTable('order_lines')
        .set({ quantity: line.next })
        .where((eb) => eb.and(of))
        .execute();
  }
  const total = wanted.reduce((sum, line) => sum + line.price * line.next, 0);
  await trx
    .updateTable('orders')
    .set({ ...next, note: change.note, total })
    .where('id', '=', order)
    .execute();
  await chargeInstead(trx, { order, revision: next.revision, total });
  return { kind: 'changed' };
}
