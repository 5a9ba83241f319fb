/** Edges in this process, with small real applications behind them and links between them that can be cut. */
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { type Edge, type EdgeLimits, type EdgeOptions, startEdge } from '@lanekeeper/server/edge';
import { type Configuration, createConfiguration, type WrittenConfiguration } from 'lanekeeper/config';
import {
  createKeyRing,
  generateKeyPair,
  issueSession,
  type KeyRing,
  newSessionId,
  parseSigningKey,
} from 'lanekeeper/session';
import { testRoleNames } from './clusters.ts';

export type TestApp = { readonly url: string; stop(): Promise<void> };

/** A real application: whatever a request listener makes of it. Headers of up to 64 KiB, so that only the edge limits them. */
export async function startApp(
  listener: http.RequestListener,
  port = 0,
): Promise<TestApp & { readonly server: http.Server }> {
  const server = http.createServer({ maxHeaderSize: 64 * 1024 }, listener);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  return {
    server,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The link to one edge: forwards TCP, can be cut (connections refused), or go silent (accepted, and nothing more). */
export type TestLink = {
  readonly url: string;
  target: string | null;
  cut(): Promise<void>;
  /** Nothing passes any more, but nothing is closed either. */
  silence(): void;
  heal(): Promise<void>;
  stop(): Promise<void>;
};

export async function startLink(): Promise<TestLink> {
  const sockets = new Set<net.Socket>();
  let silent = false;
  const server = net.createServer((near) => {
    near.on('error', () => {});
    sockets.add(near);
    near.on('close', () => sockets.delete(near));
    if (silent || link.target === null) return;
    const { hostname, port } = new URL(link.target);
    const far = net.connect(Number(port), hostname);
    sockets.add(far);
    far.on('error', () => near.destroy());
    far.on('close', () => {
      sockets.delete(far);
      near.destroy();
    });
    near.on('close', () => far.destroy());
    near.on('data', (chunk) => {
      if (!silent && !far.write(chunk)) near.pause();
    });
    far.on('drain', () => near.resume());
    far.on('data', (chunk) => {
      if (!silent && !near.write(chunk)) far.pause();
    });
    near.on('drain', () => far.resume());
  });
  const listen = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const end = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  const link: TestLink = {
    url: `http://127.0.0.1:${port}`,
    target: null,
    cut: end,
    silence: () => {
      silent = true;
    },
    heal: async () => {
      silent = false;
      for (const socket of sockets) socket.destroy();
      if (!server.listening) await listen(port);
    },
    stop: end,
  };
  return link;
}

export type TestSite = {
  readonly name: string;
  readonly edge: Edge;
  readonly configuration: Configuration;
  readonly keys: KeyRing;
  readonly log: {
    readonly level: string;
    readonly event: string;
    readonly details: Readonly<Record<string, unknown>>;
  }[];
};

export type TestSites = {
  readonly ny: TestSite;
  readonly la: TestSite;
  /** `toLa` carries what the edge of `ny` passes on. */
  readonly toLa: TestLink;
  readonly toNy: TestLink;
  /** `name=value` of a session of `account`, homed in `home`, issued by `issuer`. */
  cookie(home: string, options?: { account?: string; issuer?: 'ny' | 'la'; maxAgeMs?: number; term?: number }): string;
  stop(): Promise<void>;
};

export type SiteSettings = {
  /** Application instances by data center. */
  readonly ny?: readonly string[];
  readonly la?: readonly string[];
  /** Agents by data center. Default: none. */
  readonly agents?: { readonly ny?: readonly string[]; readonly la?: readonly string[] };
  /** Requests are held only where a test says so. */
  readonly limits?: Partial<EdgeLimits>;
  readonly options?: Partial<EdgeOptions>;
  readonly written?: Partial<WrittenConfiguration>;
  /** Public addresses. Default `http://<dc>.shop.localhost`. */
  readonly url?: (name: string) => string;
};

export async function startSites(settings: SiteSettings): Promise<TestSites> {
  const pairs = { ny: generateKeyPair('ny'), la: generateKeyPair('la') };
  const links = { la: await startLink(), ny: await startLink() };
  const url = settings.url ?? ((name) => `http://${name}.shop.localhost`);
  const written: WrittenConfiguration = {
    cluster: 'shop',
    approach: 'full-active-active',
    dataCenters: {
      ny: {
        place: 'New York',
        faultDomain: 'east',
        database: 'postgres://127.0.0.1:1/shop',
        url: url('ny'),
        edge: links.ny.url,
        applications: [...(settings.ny ?? [])],
        agents: [...(settings.agents?.ny ?? [])],
      },
      la: {
        place: 'Los Angeles',
        faultDomain: 'west',
        database: 'postgres://127.0.0.1:2/shop',
        url: url('la'),
        edge: links.la.url,
        applications: [...(settings.la ?? [])],
        agents: [...(settings.agents?.la ?? [])],
      },
    },
    leases: { url: 'postgres://127.0.0.1:3/witness' },
    roles: testRoleNames,
    tables: { 'public.accounts': { class: 'system-of-record', account: 'id', root: true } },
    sessions: { domain: 'shop.localhost', keys: [pairs.ny.publicJwk, pairs.la.publicJwk] },
    ...settings.written,
  };
  const start = async (name: 'ny' | 'la'): Promise<TestSite> => {
    const configuration = createConfiguration(written, { here: name });
    const signingKey = parseSigningKey(JSON.stringify(pairs[name].privateJwk), name);
    const keys = createKeyRing(configuration, { signingKey });
    const log: TestSite['log'] = [];
    const edge = await startEdge({
      configuration,
      keys,
      log: (level, event, details) => log.push({ level, event, details }),
      ...settings.options,
      limits: { probeEveryMs: 200, drainMs: 3_000, holdMs: 0, ...settings.limits },
    });
    return { name, edge, configuration, keys, log };
  };
  const [ny, la] = await Promise.all([start('ny'), start('la')]);
  links.la.target = la.edge.url;
  links.ny.target = ny.edge.url;
  const issuers = { ny, la };
  return {
    ny,
    la,
    toLa: links.la,
    toNy: links.ny,
    cookie: (home, { account = 'a1', issuer = 'ny', maxAgeMs = 3_600_000, term = 1 } = {}) => {
      const session = { id: newSessionId(), account, guest: null, home, epoch: { term, counter: 0 } };
      const nowMs = Date.now();
      return `__Secure-lanekeeper=${issueSession(issuers[issuer].keys, session, { nowMs, maxAgeMs })}`;
    },
    stop: async () => {
      await Promise.all([ny.edge.close(), la.edge.close()]);
      await Promise.all([links.la.stop(), links.ny.stop()]);
    },
  };
}

export type RawAnswer = { readonly status: number; readonly headers: Record<string, string[]>; readonly body: string };

/** Sends exactly these bytes and returns everything that comes back until the other side closes, or `idleMs` pass. */
export function exchangeBytes(url: string, bytes: string | Buffer, idleMs = 5_000): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname);
    let received = '';
    const timer = setTimeout(() => socket.destroy(), idleMs);
    socket.setEncoding('latin1');
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk) => {
      received += chunk;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(received);
    });
  });
}

/** The first answer in `text`, without unchunking its body. */
export function parseAnswer(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n');
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const headers: Record<string, string[]> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    headers[name] ??= [];
    headers[name].push(line.slice(colon + 1).trim());
  }
  return { status: Number(first.split(' ')[1]), headers, body: text.slice(end + 4) };
}

export type Reply = { readonly status: number; readonly headers: http.IncomingHttpHeaders; readonly body: string };

/** An ordinary request on a connection of its own; redirects are not followed. */
export function ask(
  url: string,
  path: string,
  options: { method?: string; headers?: http.OutgoingHttpHeaders; body?: string | Buffer } = {},
): Promise<Reply> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = http.request(
      { hostname, port, path, method: options.method ?? 'GET', headers: options.headers ?? {}, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    request.on('error', reject);
    request.end(options.body);
  });
}
