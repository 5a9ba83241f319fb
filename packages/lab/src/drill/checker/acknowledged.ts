/**
 * D1: what customers were told against what the databases hold. Pure.
 *
 * - An order that was acknowledged is there once, in every data center, or waits in the stranded ledger once. One that was
 *   acknowledged as stored remotely is there, whatever the ledger says.
 * - One that was refused is nowhere; one whose outcome is unknown is there at most once; nothing is there that nobody sent.
 * - A customer's orders were placed in the order in which they were acknowledged.
 * - Pieces in carts and orders: all that were acknowledged, and no more than those whose outcome is unknown on top.
 * - A line that was set has what it was set to last, or what some attempt of unknown outcome may have set it to. An earlier
 *   value is an old write that won; a removed line that is there again was raised from the dead.
 */
import { type AccountRows, type Found, type History, isRemote, type Operation, toldOf } from './history.ts';

export type Tally = {
  readonly acknowledged: number;
  readonly acknowledgedRemote: number;
  readonly refused: number;
  readonly unknown: number;
  readonly lost: number;
  readonly lostRemote: number;
  readonly duplicated: number;
  /** Transactions in the ledger that wait for a person. */
  readonly stranded: number;
};

export type Judgement = { readonly violations: readonly string[]; readonly tally: Tally };

type Marks = { lost: Set<Operation>; doubled: Set<string>; violations: string[] };

export function judgeAcknowledged(
  history: History,
  found: Found,
  options: { readonly orderByTime: boolean } = { orderByTime: true },
): Judgement {
  const marks: Marks = { lost: new Set(), doubled: new Set(), violations: [] };
  const byAccount = new Map<string, Operation[]>();
  for (const operation of history.operations) {
    const list = byAccount.get(operation.account);
    if (list === undefined) byAccount.set(operation.account, [operation]);
    else list.push(operation);
  }
  for (const [dataCenter, accounts] of Object.entries(found.rows)) {
    for (const [account, operations] of byAccount) {
      const rows = accounts[account];
      if (rows === undefined) {
        if (!operations.some((one) => toldOf(one) === 'acknowledged')) continue;
        marks.violations.push(`${account} is not in ${dataCenter} at all`);
        for (const one of operations) if (toldOf(one) === 'acknowledged') marks.lost.add(one);
        continue;
      }
      const where = `${account} in ${dataCenter}`;
      judgeOrders(where, operations, rows, found, marks, options.orderByTime);
      // Until a person has looked at the ledger, an amount may be short of what waits there.
      if (found.strandedAccounts.has(account)) continue;
      judgePieces(where, operations, rows, marks);
      judgeLines(where, operations, rows, marks);
    }
  }
  const told = history.operations.map((operation) => [operation, toldOf(operation)] as const);
  const count = (wanted: string): number => told.filter(([, one]) => one === wanted).length;
  return {
    violations: [...new Set(marks.violations)],
    tally: {
      acknowledged: count('acknowledged'),
      acknowledgedRemote: history.operations.filter(isRemote).length,
      refused: count('refused'),
      unknown: count('unknown'),
      lost: marks.lost.size,
      lostRemote: [...marks.lost].filter(isRemote).length,
      duplicated: marks.doubled.size,
      stranded: found.strandedTransactions,
    },
  };
}

/** An attempt of unknown outcome may be stranded where it was made, while a later one was done elsewhere. */
function mayHaveBeenTwice({ attempts }: Operation): boolean {
  return attempts.some(({ outcome }) => outcome.kind === 'unknown');
}

function judgeOrders(
  where: string,
  operations: readonly Operation[],
  rows: AccountRows,
  found: Found,
  marks: Marks,
  orderByTime: boolean,
): void {
  const present = new Map<string, number>();
  for (const { value } of rows.orders) present.set(value, (present.get(value) ?? 0) + 1);
  const sent = new Set<string>();
  for (const operation of operations) {
    if (operation.wanted.kind !== 'append') continue;
    const { value } = operation.wanted;
    sent.add(value);
    const here = present.get(value) ?? 0;
    const stranded = found.strandedValues?.get(value) ?? 0;
    const told = toldOf(operation);
    const name = `order "${value}" of ${where}`;
    if (here > 1) {
      marks.doubled.add(value);
      marks.violations.push(`${name} is there ${here} times`);
    } else if (here === 1 && stranded > 0 && !mayHaveBeenTwice(operation)) {
      marks.doubled.add(value);
      marks.violations.push(`${name} is there, and waits in the stranded ledger as well`);
    } else if (told === 'acknowledged' && here === 0 && (stranded !== 1 || isRemote(operation))) {
      marks.lost.add(operation);
      const as = isRemote(operation) ? 'acknowledged as stored remotely' : 'acknowledged';
      const waits = stranded === 0 ? '' : `, and is in the stranded ledger ${stranded} times`;
      marks.violations.push(`${name} was ${as} and is not there${waits}`);
    } else if ((told === 'refused' || told === 'never-sent') && here + stranded > 0) {
      marks.violations.push(`${name} was refused, and is there all the same`);
    }
  }
  for (const { value } of rows.orders) {
    if (!sent.has(value)) marks.violations.push(`order "${value}" of ${where} was sent by nobody`);
  }
  if (!orderByTime) return;
  const place = new Map(rows.orders.map(({ value }, index) => [value, index]));
  let last: { readonly value: string; readonly index: number } | null = null;
  for (const operation of operations) {
    if (operation.wanted.kind !== 'append' || toldOf(operation) !== 'acknowledged') continue;
    const index = place.get(operation.wanted.value);
    if (index === undefined) continue;
    if (last !== null && index < last.index) {
      marks.violations.push(
        `order "${operation.wanted.value}" of ${where} stands before "${last.value}", which was acknowledged earlier`,
      );
    }
    last = { value: operation.wanted.value, index };
  }
}

function judgePieces(where: string, operations: readonly Operation[], rows: AccountRows, marks: Marks): void {
  const adds = operations.filter(({ wanted }) => wanted.kind === 'add');
  if (adds.length === 0) return;
  const amountOf = (told: string): number =>
    adds.reduce((sum, one) => sum + (one.wanted.kind === 'add' && toldOf(one) === told ? one.wanted.amount : 0), 0);
  const acknowledged = amountOf('acknowledged');
  const unknown = amountOf('unknown');
  const kept =
    rows.orders.reduce((sum, { pieces }) => sum + pieces, 0) +
    Object.values(rows.cart).reduce((sum, pieces) => sum + pieces, 0);
  if (kept < acknowledged) {
    const last = adds.filter((one) => toldOf(one) === 'acknowledged').slice(kept - acknowledged);
    for (const one of last) marks.lost.add(one);
    marks.violations.push(`${where} has ${kept} pieces in cart and orders, and ${acknowledged} were acknowledged`);
  } else if (kept > acknowledged + unknown) {
    const most = unknown === 0 ? '' : ` and ${unknown} may have been`;
    marks.doubled.add(`pieces of ${where}`);
    marks.violations.push(
      `${where} has ${kept} pieces in cart and orders, and only ${acknowledged} were acknowledged${most}`,
    );
  }
}

function judgeLines(where: string, operations: readonly Operation[], rows: AccountRows, marks: Marks): void {
  const byKey = new Map<string, Operation[]>();
  for (const operation of operations) {
    if (operation.wanted.kind !== 'set') continue;
    const { key } = operation.wanted;
    byKey.set(key, [...(byKey.get(key) ?? []), operation]);
  }
  for (const [key, sets] of byKey) {
    const amount = (one: Operation): number => (one.wanted.kind === 'set' ? one.wanted.amount : 0);
    const last = sets.findLast((one) => toldOf(one) === 'acknowledged');
    const held = rows.cart[key] ?? 0;
    // An attempt whose outcome is unknown may have been carried out at any time, also after what was sent later.
    const open = sets.filter(({ attempts }) => attempts.some(({ outcome }) => outcome.kind === 'unknown'));
    if (held === (last === undefined ? 0 : amount(last)) || open.some((one) => amount(one) === held)) continue;
    const wanted = last === undefined ? 'was never set' : `was set to ${amount(last)} last`;
    if (last !== undefined) marks.lost.add(last);
    const earlier = sets.some((one) => one !== last && toldOf(one) === 'acknowledged' && amount(one) === held);
    const how = !earlier
      ? ''
      : last !== undefined && amount(last) === 0
        ? ': what was removed is there again'
        : ': an older write has won';
    marks.violations.push(`line ${key} of ${where} has ${held} and ${wanted}${how}`);
  }
}
