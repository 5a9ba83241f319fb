/** Two data centers on PostgreSQL, prepared by Lanekeeper's own functions, whose streams go through the links. */
import { setTimeout as pause } from 'node:timers/promises';
import { ensureDatabase, roleUrl, startCluster } from '@lanekeeper/lab';
import {
  applyChanges,
  connect,
  ensureStreams,
  proveThatCommitsWait,
  setStandbyNames,
  setSyncMembers,
  waitUntilSynchronous,
} from '@lanekeeper/server/postgres';
import { createConfiguration } from 'lanekeeper/config';
import { Client as LaneClient } from 'lanekeeper/pg';
import pg from 'pg';

const password = 'bench';
const roles = Object.fromEntries(
  ['owner', 'application', 'agent', 'replication'].map((role) => [role, { name: `lanekeeper_${role}`, password }]),
);
const env = Object.fromEntries(
  Object.keys(roles).map((role) => [`LANEKEEPER_${role.toUpperCase()}_PASSWORD`, password]),
);
const names = ['ny', 'la'];

const schema = `
CREATE TABLE accounts (id text PRIMARY KEY);
${['kept', 'carried', 'plain'].map((table) => `CREATE TABLE ${table} (id text PRIMARY KEY, account_id text NOT NULL, note text NOT NULL);`).join('\n')}
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO ${roles.application.name};`;

/** A plain stream of PostgreSQL's own, made as its documentation tells to. */
const ownStream = 'bench_plain';

/** `carry` gives the address at which `from` reaches `target` in `to`. */
export async function startPostgres(dir, carry, accounts) {
  const clusters = Object.fromEntries(
    await Promise.all(
      names.map(async (name) => [
        name,
        await startCluster({ dir: `${dir}/${name}`, settings: { shared_buffers: '128MB', checkpoint_timeout: '1h' } }),
      ]),
    ),
  );
  const clients = [];
  const stop = async () => {
    await Promise.all(clients.map((client) => client.end().catch(() => {})));
    await Promise.all(names.map((name) => clusters[name].stop('immediate')));
  };
  try {
    const open = async (name, role) => {
      const url = role ? roleUrl(clusters[name], 'bench', roles[role]) : clusters[name].superuserUrl('bench');
      const client = new pg.Client({ connectionString: url });
      client.on('error', () => {});
      await client.connect();
      clients.push(client);
      return client;
    };
    const configurations = {};
    for (const name of names) {
      await ensureDatabase(clusters[name], { name: 'bench', roles });
      const owner = await open(name, 'owner');
      await owner.query(schema);
      configurations[name] = await configure(name, clusters, carry);
    }
    const as = (name, role) => (applicationName) =>
      connect(roleUrl(clusters[name], 'bench', roles[role]), { applicationName });
    for (let round = 0; round < 2; round++) {
      for (const name of names) {
        const applied = await applyChanges(as(name, 'owner'), configurations[name]);
        if (applied.kind !== 'applied') throw new Error(`apply in ${name}: ${applied.kind}`);
      }
      for (const name of names) await untilStreams(as(name, 'agent'), configurations[name]);
    }
    const agent = await open('ny', 'agent');
    const superuser = await open('ny');
    await agent.query('SELECT lanekeeper.set_lease(wall_ms + 3600000) FROM lanekeeper.clock()');
    const ids = Array.from({ length: accounts }, (_, i) => `a${i}`);
    await (await open('ny', 'application')).query('INSERT INTO accounts SELECT unnest($1::text[])', [ids]);
    await superuser.query(`CREATE PUBLICATION ${ownStream} FOR TABLE plain`);
    const from = await carry('la', 'ny', clusters.ny);
    const url = new URL(clusters.ny.superuserUrl('bench'));
    url.host = `${from.host}:${from.port}`;
    url.searchParams.set('application_name', ownStream);
    await (await open('la')).query(
      `CREATE SUBSCRIPTION ${ownStream} CONNECTION '${url.href}' PUBLICATION ${ownStream} WITH (copy_data = false, synchronous_commit = local, origin = none)`,
    );
    await setStandbyNames(agent, []);
    if (!(await proveThatCommitsWait(agent, await open('ny', 'agent'), 10_000))) throw new Error('commits do not wait');
    return { stop, load: (work, options) => load({ clusters, agent, superuser }, work, options) };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function configure(here, clusters, carry) {
  const dataCenters = {};
  for (const [index, name] of names.entries()) {
    const { host, port } = name === here ? clusters[name] : await carry(here, name, clusters[name]);
    dataCenters[name] = {
      place: name,
      faultDomain: `region-${index}`,
      database: `postgres://${host}:${port}/bench`,
      url: `http://127.0.1.${index + 1}:1`,
    };
  }
  const homed = { class: 'system-of-record', account: 'account_id' };
  return createConfiguration(
    {
      cluster: 'bench',
      approach: 'full-active-active',
      dataCenters,
      leases: { store: 'postgres', url: 'postgres://127.0.0.1:3/witness' },
      roles: Object.fromEntries(Object.entries(roles).map(([role, { name }]) => [role, name])),
      tables: {
        accounts: { class: 'system-of-record', account: 'id', root: true },
        kept: { ...homed, durability: 'local' },
        carried: { ...homed, durability: 'remote' },
        plain: { class: 'session-state' },
      },
    },
    { here },
  );
}

async function untilStreams(agent, configuration) {
  for (let tries = 0; tries < 100; tries++) {
    const result = await ensureStreams({ connect: agent, configuration, env });
    if (result.kind === 'ensured' && result.ready) return;
    await pause(200);
  }
  throw new Error(`the streams of ${configuration.here} did not start`);
}

/** `kind`: which table, by which client, and whom its commits wait for. */
const kinds = {
  'plain PostgreSQL, local': { table: 'plain', waits: null, Client: pg.Client },
  'Lanekeeper, local': { table: 'kept', waits: 'la', Client: LaneClient },
  'plain PostgreSQL, synchronous subscription': { table: 'plain', waits: ownStream, Client: pg.Client },
  'Lanekeeper, remote': { table: 'carried', waits: 'la', Client: LaneClient },
  'Lanekeeper, remote, without the SDK': { table: 'carried', waits: 'la', Client: pg.Client },
};
export const postgresWorks = Object.keys(kinds);

async function load({ clusters, agent, superuser }, work, { seconds, clients }) {
  const { table, waits, Client } = kinds[work];
  await waitFor(agent, superuser, waits);
  const connections = await Promise.all(
    Array.from({ length: clients }, async () => {
      const client = new Client({ connectionString: roleUrl(clusters.ny, 'bench', roles.application) });
      await client.connect();
      if (waits === ownStream) await client.query('SET synchronous_commit = on');
      return client;
    }),
  );
  const latencies = [];
  const end = performance.now() + seconds * 1000;
  const start = performance.now();
  await Promise.all(
    connections.map(async (client, i) => {
      while (performance.now() < end) {
        const at = performance.now();
        const id = `${at}-${i}-${Math.random()}`;
        const text = `INSERT INTO ${table} (id, account_id, note) VALUES ($1, $2, $3)`;
        await client.query({ name: table, text, values: [id, `a${i}`, 'x'.repeat(60)] });
        latencies.push(performance.now() - at);
      }
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  await Promise.all(connections.map((client) => client.end()));
  await agent.query('SELECT lanekeeper.sweep()');
  return { latencies, perSecond: latencies.length / elapsed };
}

async function waitFor(agent, superuser, waits) {
  await caughtUp(superuser);
  if (waits === ownStream) {
    await setSyncMembers(agent, 0);
    await superuser.query(`ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (${ownStream})'`);
    await superuser.query('SELECT pg_reload_conf()');
    for (let tries = 0; tries < 500; tries++) {
      const { rows } = await superuser.query(
        `SELECT FROM pg_stat_replication WHERE application_name = '${ownStream}' AND sync_state = 'sync' AND sync_priority = 1`,
      );
      if (rows.length === 1) return;
      await pause(20);
    }
    throw new Error('the plain subscription did not become synchronous');
  }
  const names = await setStandbyNames(agent, waits === null ? [] : [waits]);
  if (names.kind === 'refused') throw new Error(names.message);
  if (waits !== null) {
    const result = await waitUntilSynchronous(agent, [waits], [waits], 20_000);
    if (result.kind === 'late') throw new Error(result.reason);
  }
  await setSyncMembers(agent, waits === null ? 0 : 1);
}

/** What the work before has left to be applied is not for this one to wait for. */
async function caughtUp(superuser) {
  const { rows } = await superuser.query('SELECT pg_current_wal_flush_lsn() AS lsn');
  for (let tries = 0; tries < 1500; tries++) {
    const { rows: behind } = await superuser.query('SELECT FROM pg_stat_replication WHERE flush_lsn < $1', [
      rows[0].lsn,
    ]);
    if (behind.length === 0) return;
    await pause(20);
  }
  throw new Error('la did not catch up within 30 s');
}
