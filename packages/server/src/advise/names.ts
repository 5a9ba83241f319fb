/** What names of tables and columns usually mean. Guesses, every one of them: each is shown with its reason. */

/** `spree_userRoles` → `spree`, `user`, `roles`. */
export function wordsOf(name: string): readonly string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
}

export function singular(word: string): string {
  if (/(ss|us|is)$/.test(word)) return word;
  if (/ies$/.test(word)) return `${word.slice(0, -3)}y`;
  if (/(ses|xes|zes|ches|shes)$/.test(word)) return word.slice(0, -2);
  return word.replace(/s$/, '');
}

/** How much a name says "one row is one customer". */
const accountWords: Readonly<Record<string, number>> = {
  customer: 50,
  account: 45,
  user: 40,
  member: 25,
  subscriber: 25,
  client: 25,
  shopper: 25,
  buyer: 25,
  player: 25,
  patient: 25,
  person: 20,
  people: 20,
  tenant: 15,
};

/** 0 when the table's name does not say that its rows are accounts; a prefix (`shop_users`) takes some away. */
export function accountScore(relation: string): number {
  const words = wordsOf(relation).map(singular);
  if (words.at(-1) === 'entity') words.pop();
  const score = accountWords[words.at(-1) ?? ''] ?? 0;
  return score === 0 || words.length === 1 ? score : Math.max(score - 15, 1);
}

/** Columns that by their name hold the key of `relation`: customers → customer_id, customerId, customer_uuid. */
export function namesKeyOf(column: string, relation: string, key: string): boolean {
  const words = wordsOf(column).map(singular).join('_');
  const table = wordsOf(relation).map(singular);
  const last = table.at(-1) ?? '';
  return [table.join('_'), last].some(
    (name) => words === `${name}_id` || words === `${name}_${singular(key.toLowerCase())}`,
  );
}

/** `orderLines` → `order_line` */
export function singularWords(name: string): string {
  return wordsOf(name).map(singular).join('_');
}

/** What a column is called that holds the key of a table, by the table's whole name: address_id says nothing of customer_addresses. */
export function keyColumnOf(relation: string): string {
  return `${singularWords(relation)}_id`;
}

/** Who wrote or changed a row, not to whom it belongs: created_by, user_updated. */
export function namesAuthor(column: string): boolean {
  const words = wordsOf(column).join('_');
  return /(^|_)(creat|updat|modif|delet|chang|approv|review|upload|publish|edit|assign|invit|cancel|handl|process|author|administrator|admin|staff)\w*(_|$)/.test(
    words,
  );
}

export function namesContact(column: string): boolean {
  return /(^|_)(e_?mail|email_address|login|user_?name|handle|identifier|phone)$/.test(wordsOf(column).join('_'));
}

/** Tables of migration tools. */
export const isLedger = (relation: string): boolean =>
  /^(_prisma_migrations|sequelizemeta|schema_migrations|ar_internal_metadata|mikro_orm_migrations|typeorm_metadata|pgmigrations|script_migrations|alembic_version|databasechangelog(lock)?|flyway_schema_history|goose_db_version|django_migrations)$|^_*(knex|kysely|drizzle|flyway|liquibase)|migrations?(_lock|_history)?$/i.test(
    relation,
  );

export const isSession = (relation: string): boolean => /(^|_)sessions?$/i.test(wordsOf(relation).join('_'));

export const isCache = (relation: string): boolean =>
  /(^|_)(cache|caches|cached|tmp|temp|search_index|index_buffer)(_|$)/.test(wordsOf(relation).join('_'));

/** Work that somebody in this data center picks up. */
export const isQueue = (schema: string, relation: string): boolean =>
  /^(graphile_worker|pgboss|oban|que|river|hangfire|quartz)$/.test(schema) ||
  /(^|_)(jobs?|job_records?|queues?|tasks?|workflow_executions?|locks?|locking)$/.test(wordsOf(relation).join('_'));

/** What an order is made of, or leads to: written while customers buy. */
export function isTransaction(relation: string): boolean {
  const words = wordsOf(relation).map(singular);
  // A method of shipping is set up; an order's is a row of that order.
  const own = words.length > 1 && /^(order|cart|basket|checkout|return)$/.test(words[0] as string);
  if (words.some((word) => (own ? naming : describing).has(word))) return false;
  return words.some((word) => transactional.has(word));
}

const transactional = new Set(
  'order cart basket checkout payment refund capture invoice shipment fulfillment fulfilment return exchange claim transaction subscription booking delivery surcharge allocation redemption'.split(
    ' ',
  ),
);

const naming = new Set('status type reason template setting'.split(' '));

/** Words that turn a transaction into what somebody set up for it. */
const describing = new Set(
  'provider type reason zone set option profile method rule group status template channel eligibility calculator promotion tag category setting label'.split(
    ' ',
  ),
);

/** Numbers that go up and down with every order: merging two writes of them would lose one. */
export const isCounted = (relation: string): boolean =>
  !/(^|_)(locations?|address(es)?|types?|channels?|polic(y|ies)|rules?)(_|$)/.test(wordsOf(relation).join('_')) &&
  /(^|_)(stock|inventory|reservations?|allocations?|counters?|sequences?|balances?|quotas?|budgets?|gift_?cards?|vouchers?|coupons?|usage|credits?|wallets?|ledgers?|payouts?)(_|$)/.test(
    wordsOf(relation).join('_'),
  );

/** Rows that are added and hardly ever changed. */
export const isLog = (relation: string): boolean =>
  /(^|_)(logs?|audits?|events?|histor(y|ies)|activit(y|ies)|visits?|views|clicks?|searches|notifications?|changes|revisions?|versions?|entries|records?)$/.test(
    wordsOf(relation).join('_'),
  );

/** Who may do what in the back office. */
export const isStaff = (relation: string): boolean =>
  /(^|_)(users?|admins?|administrators?|staff|identit(y|ies)|auth\w*|credentials?|passwords?|invites?|invitations?|api_?keys?|access_?tokens?)(_|$)/.test(
    wordsOf(relation).join('_'),
  );
