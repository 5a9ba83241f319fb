/** Two data centers and a witness, whose way to each other leads through the links; an agent and the SDK in the first. */
import { ensureDatabase, freePort, roleUrl, startCluster } from '@lanekeeper/lab';
import { startAgent } from '@lanekeeper/server/agent';
import { bufferService, natsLog, postgresLog } from '@lanekeeper/server/buffer';
import { postgresLeaseStore } from '@lanekeeper/server/lease';
import { applyChanges, connect } from '@lanekeeper/server/postgres';
import { createLanekeeper } from 'lanekeeper';
import { createConfiguration, databaseUrl } from 'lanekeeper/config';
import { createKeyRing, generateKeyPair } from 'lanekeeper/session';
import pg from 'pg';

const password = 'bench';
const roles = Object.fromEntries(
  ['owner', 'application', 'agent', 'replication'].map((role) => [role, { name: `lanekeeper_${role}`, password }]),
);
const names = ['ny', 'la'];
const schema = `
CREATE TABLE plain (id text PRIMARY KEY, note text NOT NULL);
CREATE TABLE straight (id text PRIMARY KEY, note text NOT NULL);
CREATE TABLE logged (id text PRIMARY KEY, note text NOT NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${roles.application.name};`;

export async function startPlaces(dir, carry) {
  const clusters = Object.fromEntries(
    await Promise.all([...names, 'witness'].map(async (name) => [name, await startCluster({ dir: `${dir}/${name}` })])),
  );
  const key = generateKeyPair('ny');
  const env = {
    LANEKEEPER_SIGNING_KEY: JSON.stringify(key.privateJwk),
    ...Object.fromEntries(Object.keys(roles).map((role) => [`LANEKEEPER_${role.toUpperCase()}_PASSWORD`, password])),
  };
  for (const cluster of Object.values(clusters)) await ensureDatabase(cluster, { name: 'bench', roles });
  const url = (name, role) => roleUrl(clusters[name], 'bench', roles[role]);
  const agentPort = await freePort('127.0.0.1');

  const configure = async (here, buffer) => {
    const dataCenters = {};
    for (const [index, name] of names.entries()) {
      const { host, port } = name === here ? clusters[name] : await carry(here, name, clusters[name]);
      dataCenters[name] = {
        place: name,
        faultDomain: `region-${index}`,
        database: `postgres://${host}:${port}/bench`,
        url: `http://127.0.1.${index + 1}:1`,
        ...(name === 'ny' ? { agents: [`http://127.0.0.1:${agentPort}`] } : {}),
      };
    }
    return createConfiguration(
      {
        cluster: 'bench',
        approach: 'active-passive',
        dataCenters,
        leases: { store: 'postgres', url: `postgres://127.0.0.1:${clusters.witness.port}/bench` },
        roles: Object.fromEntries(Object.entries(roles).map(([role, { name }]) => [role, name])),
        sessions: { keys: [key.publicJwk] },
        tables: {
          plain: { class: 'session-state' },
          straight: { class: 'cache', writes: 'direct' },
          logged: { class: 'cache', writes: 'buffered' },
        },
        buffer,
      },
      { here },
    );
  };
  for (const name of names) {
    const owner = new pg.Client({ connectionString: url(name, 'owner') });
    await owner.connect();
    await owner.query(schema);
    await owner.end();
    const as = (applicationName) => connect(url(name, 'owner'), { applicationName });
    const applied = await applyChanges(as, await configure(name, {}));
    if (applied.kind !== 'applied') throw new Error(`apply in ${name}: ${JSON.stringify(applied)}`);
  }
  const pools = Object.fromEntries(names.map((name) => [name, new pg.Pool({ connectionString: url(name, 'agent') })]));

  return {
    application: url('ny', 'application'),
    pools,
    /** What stands behind `buffered` tables, nothing drained until `drain` or an agent is started. */
    async open(buffer) {
      const configuration = await configure('ny', buffer);
      const open = (dc, role) => (applicationName) =>
        connect(databaseUrl(configuration, dc, role, env), { applicationName });
      const log = () =>
        buffer.store === 'nats'
          ? natsLog({
              servers: configuration.buffer.urls,
              login: null,
              cluster: 'bench',
              here: 'ny',
              targets: names,
              replicas: configuration.buffer.replicas,
              databaseUrl: url('ny', 'agent'),
            })
          : postgresLog({ url: url('ny', 'agent'), here: 'ny' });
      const service = () => {
        const logs = buffer.store === 'nats' ? [postgresLog({ url: url('ny', 'agent'), here: 'ny' }), log()] : [log()];
        return bufferService({
          configuration,
          databaseUrl: url('ny', 'agent'),
          connect: (dc) => open(dc, 'agent'),
          logs,
          appendTo: logs.at(-1),
        });
      };
      return {
        log,
        service,
        sdk: () => createLanekeeper({ config: configuration, env, databaseUrl: url('ny', 'application') }),
        agent: () =>
          startAgent({
            configuration,
            keys: createKeyRing(configuration, { env }),
            databaseUrl: url('ny', 'agent'),
            leaseStore: postgresLeaseStore({
              url: url('witness', 'agent'),
              cluster: 'bench',
              applicationName: 'bench',
            }),
            connect: open,
            host: '127.0.0.1',
            port: agentPort,
            version: 'bench',
            buffering: service(),
          }),
      };
    },
    async stop() {
      await Promise.all(Object.values(pools).map((pool) => pool.end()));
      await Promise.all(Object.values(clusters).map((cluster) => cluster.stop('immediate')));
    },
  };
}
