/** What an agent does for tables that are written in every data center, put together from the configuration. */
import { type Configuration, databaseUrl } from 'lanekeeper/config';
import {
  type BufferLog,
  type BufferService,
  type BufferServiceOptions,
  bufferService,
  natsLog,
  postgresLog,
} from '../buffer/index.ts';
import { connect } from '../postgres/index.ts';

/** Undefined where no table is written so. Throws LK_CONFIG when a password is missing. */
export function openBuffering(
  configuration: Configuration,
  env: NodeJS.ProcessEnv,
  note?: BufferServiceOptions['note'],
): BufferService | undefined {
  const { here, buffer } = configuration;
  const patterns = new Set(Object.values(configuration.tables).map(({ writes }) => writes));
  if (!patterns.has('direct') && !patterns.has('buffered')) return undefined;
  const url = databaseUrl(configuration, here, 'agent', env);
  // Direct writes are noted there whatever the store of the others.
  const local = postgresLog({ url, here });
  const nats = buffer.store === 'nats' && patterns.has('buffered') ? openNats(configuration, env) : null;
  return bufferService({
    configuration,
    databaseUrl: url,
    connect: (dc) => (applicationName) =>
      connect(databaseUrl(configuration, dc, 'agent', env), { applicationName, statementTimeoutMs: 30_000 }),
    logs: nats === null ? [local] : [local, nats],
    appendTo: nats ?? local,
    ...(note === undefined ? {} : { note }),
  });
}

/** Also for the commands that ask it. */
export function openNats(configuration: Configuration, env: NodeJS.ProcessEnv): BufferLog {
  const { here, cluster, buffer } = configuration;
  return natsLog({
    servers: buffer.urls,
    login: buffer.user === null ? null : { user: buffer.user, password: env.LANEKEEPER_BUFFER_PASSWORD ?? '' },
    cluster,
    here,
    targets: Object.keys(configuration.dataCenters),
    replicas: buffer.replicas,
    databaseUrl: databaseUrl(configuration, here, 'agent', env),
  });
}
