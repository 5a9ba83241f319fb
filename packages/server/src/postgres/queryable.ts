import type { QueryResult, QueryResultRow } from 'pg';

/** What a function that only asks questions needs of a connection: a `pg` Client or PoolClient fits. */
export type Queryable = {
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[]): Promise<QueryResult<Row>>;
};
