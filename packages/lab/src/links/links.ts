/**
 * Links between sites. A map of this room:
 *
 * - `links.ts` (here): the sites' directions, and the routes (a listening address here, a target there).
 * - `connection.ts`: one connection through a route: two sockets and a line each way.
 * - `line.ts`: what is on its way in one direction of one connection.
 * - `direction.ts`: delay, jitter, bandwidth and cuts between two sites.
 * - `clock.ts`: one timer for everything.
 * - `control.ts`, `client.ts`: the HTTP interface and its client. `main.ts`: the process.
 *
 * What holds:
 * 1. Bytes of a connection arrive in order, each exactly once, never earlier than delay after they were sent.
 * 2. A cut holds bytes and tells nobody; after healing, a connection that its ends have kept loses nothing.
 * 3. Memory is bounded: a sender whose bytes do not arrive has to wait.
 *
 * What differs from a wire: opening a connection through a cut link succeeds (the kernel answers for us) and then
 * nothing happens, so clients need a timeout on the first answer, not only on connecting; TCP keepalives are answered.
 */
import { createServer, type Server } from 'node:net';
import { Clock } from './clock.ts';
import { Connection, type Target } from './connection.ts';
import { Direction, type DirectionSettings, defaultSettings, type Held } from './direction.ts';

export type RouteRequest = {
  /** The site whose processes connect to it. */
  readonly from: string;
  /** The site where the target is. */
  readonly to: string;
  readonly target: Target;
  /** Where to listen: port 0 takes any; one that is taken is an error. */
  readonly listen: Target;
};

export type Route = RouteRequest & { readonly connections: number };

export type DirectionState = DirectionSettings & {
  readonly from: string;
  readonly to: string;
  readonly connections: number;
  /** Delivered since the start. */
  readonly bytes: number;
  /** On their way now. */
  readonly heldBytes: number;
};

type OpenRoute = { readonly request: RouteRequest; readonly server: Server; readonly connections: Set<Connection> };

export class Links {
  readonly #clock = new Clock();
  readonly #held: Held = { bytes: 0 };
  readonly #directions = new Map<string, Direction>();
  readonly #routes: OpenRoute[] = [];
  readonly #defaults: DirectionSettings;
  readonly #random: () => number;

  constructor(defaults: Partial<DirectionSettings> = {}, random: () => number = Math.random) {
    this.#defaults = { ...defaultSettings, ...defaults };
    this.#random = random;
  }

  /** Listens; resolves with the address in `listen`. Rejects with the error's `code` (EADDRINUSE…) when it cannot. */
  async addRoute(request: RouteRequest): Promise<RouteRequest> {
    const forward = this.#direction(request.from, request.to);
    const backward = this.#direction(request.to, request.from);
    const connections = new Set<Connection>();
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      if (forward.settings.mode === 'refuse' || backward.settings.mode === 'refuse') {
        socket.on('error', () => {});
        socket.resetAndDestroy();
        return;
      }
      const connection: Connection = new Connection(this.#clock, socket, request.target, forward, backward, () =>
        connections.delete(connection),
      );
      connections.add(connection);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ ...request.listen, backlog: 1024 }, resolve);
    });
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('a listening server has an address');
    const opened = { ...request, listen: { host: request.listen.host, port: address.port } };
    this.#routes.push({ request: opened, server, connections });
    return opened;
  }

  /** Changes one direction; connections under way are affected from now on. */
  change(from: string, to: string, changes: Partial<DirectionSettings>): void {
    const direction = this.#direction(from, to);
    const opposite = this.#direction(to, from);
    direction.change(changes, this.#clock.now());
    if (direction.settings.mode === 'refuse') {
      for (const route of this.#routes) {
        const { request, connections } = route;
        const here = (request.from === from && request.to === to) || (request.from === to && request.to === from);
        if (here) for (const connection of connections) connection.reset();
      }
    }
    // The opposite direction may go on as well: acknowledgements get through again.
    for (const line of [...direction.lines, ...opposite.lines]) line.advance();
  }

  routes(): readonly Route[] {
    return this.#routes.map(({ request, connections }) => ({ ...request, connections: connections.size }));
  }

  directions(): readonly DirectionState[] {
    return [...this.#directions.values()].map((direction) => ({
      from: direction.from,
      to: direction.to,
      ...direction.settings,
      connections: direction.lines.size,
      bytes: direction.bytes,
      heldBytes: [...direction.lines].reduce((sum, line) => sum + line.heldBytes, 0),
    }));
  }

  /** Stops listening and resets what is open. */
  async close(): Promise<void> {
    await Promise.all(
      this.#routes.map(async ({ server, connections }) => {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        for (const connection of connections) connection.reset();
        await closed;
      }),
    );
    this.#clock.stop();
  }

  #direction(from: string, to: string): Direction {
    const key = `${from} ${to}`;
    let direction = this.#directions.get(key);
    if (!direction) {
      direction = new Direction(from, to, this.#defaults, this.#held, this.#random);
      this.#directions.set(key, direction);
    }
    return direction;
  }
}
