/** Three data centers with merged tables, each a cluster of its own, without agents: the bench does what they would do. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureDatabase, roleUrl, startCluster } from '@lanekeeper/lab';
import { applyChanges, connect, ensureStreams } from '@lanekeeper/server/postgres';
import { createConfiguration } from 'lanekeeper/config';
import pg from 'pg';

export const names = ['ny', 'la', 'fra'];
const roles = Object.fromEntries(
  ['owner', 'application', 'agent', 'replication'].map((role) => [role, { name: `bench_${role}`, password: 'bench' }]),
);
const roleNames = Object.fromEntries(Object.entries(roles).map(([role, { name }]) => [role, name]));
const settings = {
  shared_buffers: '128MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '1h',
  wal_retrieve_retry_interval: '100ms',
};

/** `work` gets, by name, `{ cluster, superuser, url(role) }`. `schema` is run as the owner everywhere. */
export async function withPlaces(schema, tables, work) {
  const dir = await mkdtemp(join(tmpdir(), 'lanekeeper-bench-'));
  await chmod(dir, 0o755);
  const clusters = await Promise.all(names.map((name) => startCluster({ dir: join(dir, name), settings })));
  const places = new Map();
  try {
    for (const [i, name] of names.entries()) {
      const cluster = clusters[i];
      await ensureDatabase(cluster, { name: 'bench', roles });
      const superuser = new pg.Client({ connectionString: cluster.superuserUrl('bench') });
      await superuser.connect();
      places.set(name, { cluster, superuser, url: (role) => roleUrl(cluster, 'bench', roles[role]) });
      await onOwner(places.get(name), schema);
    }
    const two = createConfiguration(written(clusters, tables), { here: 'ny' });
    const apply = async (name) => {
      const { url } = places.get(name);
      const configuration = { ...withThird(two, clusters[2]), here: name };
      const applied = await applyChanges(
        (application) => connect(url('owner'), { applicationName: application }),
        configuration,
      );
      if (applied.kind !== 'applied')
        throw new Error(
          `apply in ${name}: ${applied.kind} ${applied.error?.message ?? JSON.stringify(applied.problems ?? '')}`,
        );
      return configuration;
    };
    for (const name of names) await apply(name);
    for (const name of names) {
      const configuration = { ...withThird(two, clusters[2]), here: name };
      const env = { LANEKEEPER_REPLICATION_PASSWORD: 'bench' };
      const connectAgent = (application) => connect(places.get(name).url('agent'), { applicationName: application });
      const streams = await ensureStreams({ connect: connectAgent, configuration, env });
      if (streams.kind !== 'ensured' || !streams.ready)
        throw new Error(`streams of ${name}: ${JSON.stringify(streams)}`);
    }
    for (const name of names) await apply(name);
    await work(places);
  } finally {
    await Promise.all([...places.values()].map(({ superuser }) => superuser.end().catch(() => {})));
    await Promise.all(clusters.map((cluster) => cluster.stop('immediate')));
    await rm(dir, { recursive: true, force: true });
  }
}

async function onOwner({ url }, sql) {
  const owner = new pg.Client({ connectionString: url('owner') });
  await owner.connect();
  await owner.query(sql);
  await owner.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${roles.application.name}`);
  await owner.end();
}

function written(clusters, tables) {
  const place = (name, i) => ({
    place: name,
    faultDomain: `region-${i}`,
    database: `postgres://${clusters[i].host}:${clusters[i].port}/bench`,
    url: `http://127.0.1.${i + 1}:1`,
  });
  return {
    cluster: 'bench',
    approach: 'active-passive',
    dataCenters: { ny: place('ny', 0), la: place('la', 1) },
    leases: { url: 'postgres://127.0.0.1:3/witness' },
    roles: roleNames,
    tables,
  };
}

/** A configuration names two; the rules of merging are made for three. */
function withThird(two, { host, port }) {
  const fra = {
    ...two.dataCenters.la,
    name: 'fra',
    number: 3,
    place: 'fra',
    database: `postgres://${host}:${port}/bench`,
  };
  const tables = Object.fromEntries(
    Object.entries(two.tables).map(([name, table]) => [name, { ...table, weights: { ...table.weights, fra: 100 } }]),
  );
  return { ...two, dataCenters: { ...two.dataCenters, fra }, tables };
}
