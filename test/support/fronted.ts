/** Two data centers of which ny's database may become another server: agents and la reach it by an address that can be led elsewhere. */
import { applyChanges, ensureStreams } from '@lanekeeper/server/postgres';
import { type TestAgents, testAgents } from './agents.ts';
import { applyPair, connectAs } from './applied.ts';
import { type Front, startFront } from './front.ts';
import { type TestPair, testPair } from './pair.ts';

export type FrontedPair = {
  readonly pair: TestPair;
  /** In front of ny's database. */
  readonly front: Front;
  readonly agents: TestAgents;
  stop(): Promise<void>;
};

const accounts = `CREATE TABLE accounts (id text PRIMARY KEY, name text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO lanekeeper_application;`;

/** `schema` has the table `accounts`, by default nothing else; takeovers are for the test to ask for, and `standbys` are configured, not made. */
export async function frontedPair(options: {
  readonly schema?: string;
  readonly standbys: { readonly name: string; readonly sync?: boolean }[];
}): Promise<FrontedPair> {
  const pair = await testPair({
    schema: options.schema ?? accounts,
    configuration: {
      tables: { accounts: { class: 'system-of-record', account: 'id', root: true } },
      failover: { mode: 'manual' },
    },
  });
  await applyPair(pair);
  const front = await startFront(pair.dc('ny').cluster);
  const agents = await testAgents(pair, {
    change: (written) => {
      const { database, ...ny } = written.dataCenters.ny as NonNullable<(typeof written.dataCenters)[string]>;
      const url = new URL(database);
      url.port = String(front.port);
      return {
        ...written,
        leases: { ...written.leases, ttl: '3s', renewEvery: '500ms', skew: '500ms' },
        dataCenters: { ...written.dataCenters, ny: { ...ny, database: url.href, standbys: options.standbys } },
      };
    },
  });
  // There are standbys now.
  const applied = await applyChanges(connectAs(pair.dc('ny'), 'owner'), agents.configuration('ny'));
  if (applied.kind !== 'applied') throw new Error(`apply in ny: ${applied.kind}`);
  // The address has changed: `apply` in la takes it over.
  const la = pair.dc('la');
  const streams = await ensureStreams({
    connect: connectAs(la, 'agent'),
    configuration: agents.configuration('la'),
    env: la.env,
  });
  if (streams.kind !== 'ensured' || !streams.ready) throw new Error(`no streams: ${JSON.stringify(streams)}`);
  return {
    pair,
    front,
    agents,
    async stop() {
      await agents.stop();
      await front.close();
      await pair.stop();
    },
  };
}
