/**
 * The storefront on both coasts (or three, see `sides.ts`), in this process: real databases with Lanekeeper applied, the real SDK, a real edge in
 * front of each shop, and agents by hand that claim and move on request (`hand-agent.ts`). Under any of the five approaches;
 * under `stateless-frontends` the shop is a front and a back, which meet over HTTP.
 */
import { readFile } from 'node:fs/promises';
import { freePort } from '@lanekeeper/lab';
import { type Edge, startEdge } from '@lanekeeper/server/edge';
import type { FastifyInstance } from 'fastify';
import { createLanekeeper, type Lanekeeper } from 'lanekeeper';
import type { Configuration, WrittenConfiguration } from 'lanekeeper/config';
import { createFrontend } from 'lanekeeper/frontend';
import { type ApproachName, approaches } from 'lanekeeper/model';
import { createKeyRing } from 'lanekeeper/session';
import pg from 'pg';
import { parse } from 'yaml';
import { createBack, createShop } from '../../../examples/storefront/src/app.ts';
import { connect } from '../../../examples/storefront/src/database/connect.ts';
import { grant, migrate } from '../../../examples/storefront/src/database/migrate.ts';
import { seed } from '../../../examples/storefront/src/database/seed.ts';
import { readSettings } from '../../../examples/storefront/src/settings.ts';
import { createFront } from '../../../examples/storefront/src/web/stateless.ts';
import { applyPair, lease } from '../../support/applied.ts';
import { approachToTest } from '../../support/approach.ts';
import { runSql, testRoleNames } from '../../support/clusters.ts';
import { type TestPair, testPair } from '../../support/pair.ts';
import { type Side, sides } from '../../support/sides.ts';
import { type HandAgent, startHandAgent } from './hand-agent.ts';

export type Coast = {
  readonly name: Side;
  readonly configuration: Configuration;
  /** Of whoever has the database. */
  readonly lanekeeper: Lanekeeper;
  readonly agent: HandAgent;
  readonly edge: Edge;
  /** The shop itself, without an edge; its front. */
  readonly app: string;
};

export type TwoCoasts = {
  readonly pair: TestPair;
  readonly names: readonly Side[];
  at(name: Side): Coast;
  /** Rows from one coast's database, seen by the superuser. */
  rows<Row = Record<string, unknown>>(dc: Side, sql: string, values?: readonly unknown[]): Promise<Row[]>;
  stop(): Promise<void>;
};

export const deskPassphrase = 'the kiln is at cone ten';

/** Longer than any test, since nobody renews it. */
const leaseMs = 600_000;

const loopback = ['127.0.0.1'];

export type TwoCoastsOptions = {
  readonly env?: NodeJS.ProcessEnv;
  /** Default: the one under test. */
  readonly approach?: ApproachName;
};

export async function startTwoCoasts({
  env = {},
  approach = approachToTest,
}: TwoCoastsOptions = {}): Promise<TwoCoasts> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const one of stops.splice(0).reverse()) await one();
  };
  try {
    const pair = await testPair({
      schema: 'SELECT',
      dataCenters: sides,
      configuration: await exampleSections(approach),
    });
    stops.push(() => pair.stop());
    for (const name of pair.names) await prepare(pair, name);
    await applyPair(pair);
    for (const name of pair.names) await lease(pair.dc(name), leaseMs);
    await publishCatalog(pair);

    const agents = new Map<string, HandAgent>();
    for (const name of pair.names) {
      const agent = await startHandAgent(pair, name);
      agents.set(name, agent);
      stops.push(() => agent.stop());
    }
    const split = approaches[approach].routing === 'call';
    const ports = new Map<string, { app: number; edge: number; back: number }>();
    for (const name of pair.names) {
      const [app, edge, back] = [await freePort(loopback), await freePort(loopback), await freePort(loopback)];
      ports.set(name, { app, edge, back });
    }
    const addressed = (written: WrittenConfiguration): WrittenConfiguration => {
      const places: Record<string, string> = { ny: 'New York', la: 'Los Angeles', fra: 'Frankfurt' };
      for (const [name, dc] of Object.entries(written.dataCenters)) {
        const { app, edge, back } = ports.get(name)!;
        dc.place = places[name]!;
        dc.url = `http://${name}.shop.localhost:${edge}`;
        dc.edge = `http://127.0.0.1:${edge}`;
        dc.agents = [agents.get(name)!.url];
        dc.applications = [`http://127.0.0.1:${app}`];
        if (split) dc.backends = [`http://127.0.0.1:${back}`];
      }
      return written;
    };
    const open = async (name: Side): Promise<Coast> => {
      const configuration = pair.configure(name, addressed);
      const dcEnv = { ...pair.dc(name).env, DATABASE_URL: pair.dc(name).urls.application };
      const lanekeeper = await createLanekeeper({ config: configuration, env: dcEnv, instance: `${name}-1` });
      stops.push(() => lanekeeper.close());
      const settings = readSettings({
        STOREFRONT_DESK_PASSPHRASE: deskPassphrase,
        STOREFRONT_SCRYPT_COST: '8',
        LOG_LEVEL: 'warn',
        ...env,
      });
      const { app, edge: edgePort, back: backPort } = ports.get(name)!;
      const listen = async (server: FastifyInstance, port: number): Promise<void> => {
        stops.push(() => server.close());
        await server.listen({ host: '127.0.0.1', port });
      };
      if (split) {
        const frontend = await createFrontend({ config: configuration, env: {} });
        stops.push(async () => frontend.close());
        await listen(await createBack(lanekeeper, settings), backPort);
        await listen(await createFront(frontend, settings, `${name}-front-1`), app);
      } else {
        await listen(await createShop(lanekeeper, settings), app);
      }
      const edge = await startEdge({
        configuration,
        keys: createKeyRing(configuration, { env: dcEnv }),
        log: () => {},
        port: edgePort,
        limits: { drainMs: 1000 },
      });
      stops.push(() => edge.close());
      return { name, configuration, lanekeeper, agent: agents.get(name)!, edge, app: `http://127.0.0.1:${app}` };
    };
    const coasts = new Map<Side, Coast>();
    for (const name of sides) coasts.set(name, await open(name));
    return {
      pair,
      names: sides,
      at(name) {
        const coast = coasts.get(name);
        if (coast === undefined) throw new Error(`there is no coast ${name}`);
        return coast;
      },
      rows: (dc, sql, values) => runSql(pair.dc(dc).urls.superuser, sql, values),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What the example's own configuration says of its tables. */
export async function exampleSections(
  approach = approachToTest,
): Promise<Pick<WrittenConfiguration, 'approach' | 'tables' | 'ignore' | 'claims'>> {
  const example = new URL('../../../examples/storefront/lanekeeper.yaml', import.meta.url);
  const { tables, ignore, claims } = parse(await readFile(example, 'utf8'));
  return { approach, tables, ignore, claims };
}

/** What `dist/migrate.js` does. */
async function prepare(pair: TestPair, name: string): Promise<void> {
  const db = connect(new pg.Pool({ connectionString: pair.dc(name).urls.owner, max: 1 }));
  try {
    await migrate(db);
    await migrate(db);
    await grant(db, testRoleNames.application);
  } finally {
    await db.destroy();
  }
}

/** What `dist/seed.js` does in the feeder; the others have it when their streams brought it. */
async function publishCatalog(pair: TestPair): Promise<void> {
  const db = connect(new pg.Pool({ connectionString: pair.dc('ny').urls.owner, max: 1 }));
  try {
    const written = await seed(db);
    for (let attempt = 0; attempt < 500; attempt += 1) {
      const counts = sides.map(
        async (name) => (await runSql(pair.dc(name).urls.superuser, 'SELECT FROM products')).length,
      );
      if ((await Promise.all(counts)).every((count) => count === written)) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error('the catalog did not come everywhere');
  } finally {
    await db.destroy();
  }
}
