/** The lease store on a PostgreSQL database of the witness: see `schema.ts` for the rules it keeps. */
import type { LeaseClaim, LeaseCredential, LeaseResult, LeaseStore, LeaseView } from 'lanekeeper/model';
import type { Client } from 'pg';
import { Recollection, readResult, readSuccessionResult, readView, readYesOrNo } from './answer.ts';
import { Line } from './line.ts';
import { installLockSql, schemaSql, schemaVersion } from './schema.ts';

export type LeaseStoreOptions = {
  /** With user and password. */
  readonly url: string;
  /** Several clusters may share one witness. */
  readonly cluster: string;
  /** For connecting and for each question. Default 1500: well below the time between two renewals. */
  readonly timeoutMs?: number;
  readonly applicationName?: string;
};

/** Connects when it is first asked, and creates its schema when that is missing. */
export function postgresLeaseStore(options: LeaseStoreOptions): LeaseStore {
  const { url, cluster, timeoutMs = 1500, applicationName = 'lanekeeper agent' } = options;
  const line = new Line({ url, applicationName, timeoutMs });
  const recollection = new Recollection();
  let installed: Promise<void> | null = null;

  async function ask(sql: string, values: readonly unknown[]): Promise<unknown> {
    return line.ask(async (client) => {
      installed ??= install(client).catch((error: unknown) => {
        installed = null;
        throw error;
      });
      await installed;
      const { rows } = await client.query<{ answer: unknown }>(`SELECT ${sql} AS answer`, [...values]);
      return rows[0]?.answer;
    });
  }

  async function take(claim: LeaseClaim, revision: number | null, predecessor?: LeaseCredential): Promise<LeaseResult> {
    const values = [
      cluster,
      JSON.stringify(claim),
      revision,
      predecessor?.holder ?? null,
      predecessor?.revision ?? null,
    ];
    const floor = recollection.term;
    const result = readResult(await ask('lanekeeper_lease.take($1, $2, $3, $4, $5)', values), claim);
    recollection.check(result.view, floor);
    return result;
  }

  return {
    async read(): Promise<LeaseView> {
      const floor = recollection.term;
      return recollection.check(readView(await ask('lanekeeper_lease.read($1)', [cluster])), floor);
    },
    acquire: (claim, predecessor) => take(claim, null, predecessor),
    renew: (claim, revision) => take(claim, revision),
    async release(dataCenter, { holder, revision }, yields) {
      await ask('lanekeeper_lease.release($1, $2, $3, $4, $5)', [cluster, dataCenter, holder, revision, yields]);
    },
    async succeed(request) {
      const floor = recollection.term;
      const answer = await ask('lanekeeper_lease.succeed($1, $2)', [cluster, JSON.stringify(request)]);
      const result = readSuccessionResult(answer, request);
      recollection.check(result.view, floor);
      return result;
    },
    async readmit(readmission) {
      return readYesOrNo(await ask('lanekeeper_lease.readmit($1, $2)', [cluster, JSON.stringify(readmission)]));
    },
    async forget(dataCenter, revision) {
      return readYesOrNo(await ask('lanekeeper_lease.forget($1, $2, $3)', [cluster, dataCenter, revision]));
    },
    close: () => line.close(),
  };
}

async function install(client: Client): Promise<void> {
  if ((await installedVersion(client)) >= schemaVersion) return;
  await client.query('BEGIN');
  await client.query(installLockSql);
  if ((await installedVersion(client)) < schemaVersion) await client.query(schemaSql);
  await client.query('COMMIT');
}

async function installedVersion(client: Client): Promise<number> {
  const there = await client.query(`SELECT WHERE to_regclass('lanekeeper_lease.about') IS NOT NULL`);
  if (there.rows.length === 0) return 0;
  const { rows } = await client.query<{ version: number }>('SELECT version FROM lanekeeper_lease.about');
  return rows[0]?.version ?? 0;
}
