/**
 * Stops, kills and starts single processes of a running lab, for drills: an HTTP interface on loopback for whoever has
 * the token. `GET /` lists them; `POST /<site>/<name>/<action>` does one thing and answers when it is done:
 *
 * - `stop`: in order; `kill`: at once, as a power cut would. Both keep it off until `start`.
 * - `crash`: at once, and it is started again as a service manager would.
 * - `start`: on again.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Cluster } from '../clusters/cluster.ts';
import type { Service, Supervisor } from '../processes/supervisor.ts';
import type { LabClusters } from './databases.ts';
import type { LabDescription } from './description.ts';
import type { Disposer } from './disposer.ts';
import { paymentsSite } from './payments.ts';

export type LabProcess = {
  /** A data center, `witness`, or `payments`. */
  readonly site: string;
  /** `postgres`, `agent`, `edge`, `app-1` …; the payment service is `service` in `payments`. */
  readonly name: string;
  /** Null while it is off, or about to be started again. */
  readonly pid: number | null;
  /** How often it was started again because it had ended by itself. */
  readonly restarts: number;
};

/** What can be done with one process. */
type Switch = {
  state(): LabProcess;
  stop(): Promise<void>;
  kill(): Promise<void>;
  crash(): Promise<void>;
  start(): Promise<void>;
};

const actions = ['stop', 'kill', 'crash', 'start'] as const;
type Action = (typeof actions)[number];

export async function startSwitchboard(
  lab: {
    readonly supervisor: Pick<Supervisor, 'services'>;
    readonly clusters: LabClusters;
    readonly names: readonly string[];
    /** Sites whose PostgreSQL is not started again when it ends. */
    readonly off: Set<string>;
  },
  disposer: Disposer,
): Promise<LabDescription['switchboard']> {
  const token = randomBytes(18).toString('base64url');
  const switches = (): ReadonlyMap<string, Switch> => {
    const found = new Map<string, Switch>();
    for (const [site, cluster] of [...Object.entries(lab.clusters.byName), ['witness', lab.clusters.witness] as const])
      if (cluster !== null) found.set(`${site}/postgres`, clusterSwitch(site, cluster, lab.off));
    for (const [full, service] of lab.supervisor.services()) {
      const site = [...lab.names, 'witness', paymentsSite].find((name) => full.startsWith(`${name}-`));
      if (site !== undefined) {
        const name = full.slice(site.length + 1);
        found.set(`${site}/${name}`, serviceSwitch(site, name, service));
      }
    }
    return found;
  };
  const server = createServer((request, response) => {
    answer(request, token, switches()).then(
      ({ status, body }) => {
        response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
        response.end(JSON.stringify(body));
      },
      (error: unknown) => {
        response.writeHead(500, { 'content-type': 'application/json', connection: 'close' });
        response.end(JSON.stringify({ error: String(error) }));
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await disposer.add(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token };
}

async function answer(
  request: IncomingMessage,
  token: string,
  switches: ReadonlyMap<string, Switch>,
): Promise<{ readonly status: number; readonly body: unknown }> {
  const [given, wanted] = [Buffer.from(request.headers.authorization ?? ''), Buffer.from(`Bearer ${token}`)];
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    return { status: 401, body: { error: 'The token of this lab is in lab.json.' } };
  }
  const [site, name, action] = (request.url ?? '/').split('/').filter((part) => part !== '');
  if (request.method === 'GET' && site === undefined) {
    return { status: 200, body: { processes: [...switches.values()].map((one) => one.state()) } };
  }
  const found = switches.get(`${site}/${name}`);
  if (found === undefined) return { status: 404, body: { error: `Nothing is called ${name} in ${site}.` } };
  if (request.method !== 'POST' || !isAction(action)) {
    return { status: 400, body: { error: `POST one of ${actions.join(', ')}.` } };
  }
  await found[action]();
  return { status: 200, body: found.state() };
}

function isAction(value: string | undefined): value is Action {
  return actions.some((one) => one === value);
}

function clusterSwitch(site: string, cluster: Cluster, off: Set<string>): Switch {
  return {
    state: () => ({ site, name: 'postgres', pid: cluster.pid, restarts: 0 }),
    async stop() {
      off.add(site);
      await cluster.stop('fast');
    },
    async kill() {
      off.add(site);
      await cluster.kill();
    },
    crash: () => cluster.kill(),
    async start() {
      await cluster.start();
      off.delete(site);
    },
  };
}

function serviceSwitch(site: string, name: string, service: Service): Switch {
  return {
    state: () => ({ site, name, pid: service.state().pid, restarts: service.state().restarts }),
    stop: () => service.stop(),
    kill: () => service.kill(),
    async crash() {
      service.signal('SIGKILL');
    },
    start: () => service.start(),
  };
}
