/**
 * One order, one charge (part of D1): what the payment service has written down, against the orders that there are. The
 * service is outside of the data centers, as a bank would be, so its journal is believed.
 */
import { readFile } from 'node:fs/promises';

export type Charge = { readonly kind: string; readonly order: string; readonly account: string };

/** Null: this lab has no payment service. */
export async function readCharges(file: string | null): Promise<readonly Charge[] | null> {
  if (file === null) return null;
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return null;
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Charge);
}

/**
 * `accounts`: whose charges are looked at. `orders`, `stranded`: what was ordered under which id, by what
 * the customer wrote. Pure.
 */
export function judgeCharges(
  charges: readonly Charge[],
  accounts: ReadonlySet<string>,
  orders: ReadonlyMap<string, string>,
  stranded: ReadonlyMap<string, string>,
): readonly string[] {
  const violations: string[] = [];
  const charged = new Set<string>();
  const present = new Set(orders.values());
  for (const { kind, order, account } of charges) {
    if (kind !== 'charge' || !accounts.has(account)) continue;
    if (charged.has(order)) violations.push(`order ${order} was charged twice`);
    charged.add(order);
    if (orders.has(order)) continue;
    const value = stranded.get(order);
    if (value === undefined) violations.push(`order ${order} was charged, and there is no such order`);
    else if (present.has(value))
      violations.push(
        `order "${value}" was charged where it is stranded (${order}), and was placed once more elsewhere`,
      );
  }
  return violations;
}
