declare module 'knex/lib/dialects/postgres/index.js' {
  import type { Knex } from 'knex';
  /** Knex's own dialect, which its types leave out. */
  export default class PostgresDialect extends (class {} as unknown as typeof Knex.Client) {
    _driver(): unknown;
  }
}
