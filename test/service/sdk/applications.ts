/** The same small application on Fastify and on Express, for one suite. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import express, { type Request } from 'express';
import fastify from 'fastify';
import type { Lanekeeper, RequestScope } from 'lanekeeper';
import { lanekeeperExpress, lanekeeperExpressErrors, replayable } from 'lanekeeper/express';
import fastifyLanekeeper from 'lanekeeper/fastify';
import type pg from 'pg';

export type Application = {
  readonly url: string;
  /** Requests whose handler was run. */
  readonly handled: string[];
  stop(): Promise<void>;
};

type Body = Record<string, string>;
type Handler = (scope: RequestScope, body: Body) => Promise<unknown>;
type Route = {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly replayable?: boolean;
  readonly anywhere?: boolean;
  readonly handler: Handler;
};

export type ApplicationOptions = {
  readonly lanekeeper: Lanekeeper;
  readonly pool: pg.Pool;
  /** Render errors as a page of the application's own. */
  readonly ownErrorPages?: boolean;
};

const insertOrder = 'INSERT INTO orders (id, account_id) VALUES ($1, $2)';

function routes({ lanekeeper, pool }: ApplicationOptions): Route[] {
  const order = async (id: string, account: string) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query(insertOrder, [id, account]);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    } finally {
      client.release();
    }
  };
  const who = (scope: RequestScope) => ({
    account: scope.account,
    guest: scope.guest,
    home: scope.home,
    dataCenter: scope.dataCenter,
    requestId: scope.requestId,
  });
  return [
    {
      method: 'GET',
      path: '/who',
      handler: async (scope) => {
        await pool.query('SELECT 1');
        await delay(1);
        return { ...who(scope), same: lanekeeper.current() === scope };
      },
    },
    {
      method: 'GET',
      path: '/orders',
      handler: async (scope) => {
        const { rows } = await pool.query(
          'SELECT lanekeeper.dc() AS dc, (SELECT array_agg(id ORDER BY id) FROM orders WHERE account_id = $1) AS ids',
          [scope.account],
        );
        return { orders: rows[0].ids ?? [], mayMiss: scope.mayMiss, from: rows[0].dc };
      },
    },
    {
      method: 'POST',
      path: '/orders',
      handler: async (scope, { id = '' }) => {
        await order(id, lanekeeper.current()?.account ?? '');
        return who(scope);
      },
    },
    { method: 'POST', path: '/orders-of', handler: async (_scope, { id = '', account = '' }) => order(id, account) },
    {
      method: 'POST',
      path: '/replayable-orders-of',
      replayable: true,
      handler: async (_scope, { id = '', account = '' }) => order(id, account),
    },
    {
      method: 'POST',
      path: '/wrapped',
      handler: async (_scope, { id = '', account = '' }) =>
        order(id, account).catch((cause: unknown) => {
          throw new Error('the query failed', { cause });
        }),
    },
    {
      method: 'POST',
      path: '/two-orders',
      handler: async (_scope, { id = '', account = '', pauseMs = '0' }) => {
        await order(`${id}-1`, account);
        await delay(Number(pauseMs));
        await order(`${id}-2`, account);
      },
    },
    {
      method: 'POST',
      path: '/for',
      handler: async (scope, { id = '', account = '' }) =>
        scope.forAccount(account, () => scope.forAccount(account, () => order(id, account))),
    },
    {
      method: 'POST',
      path: '/desk',
      anywhere: true,
      handler: async (scope, { id = '', account = '' }) => scope.forAccount(account, () => order(id, account)),
    },
    {
      method: 'POST',
      path: '/for-two',
      handler: async (scope, { id = '', first = '', second = '' }) => {
        await scope.forAccount(first, () => order(id, first));
        await scope.forAccount(second, () => order(id, second));
      },
    },
    {
      method: 'POST',
      path: '/register',
      handler: async (scope, { account = '' }) => {
        await pool.query('INSERT INTO accounts VALUES ($1, $1)', [account]);
        await scope.signIn(account, { registered: true });
        return who(scope);
      },
    },
    {
      method: 'POST',
      path: '/guest',
      handler: async (scope, { account = '' }) => {
        await pool.query('INSERT INTO accounts VALUES ($1, $1)', [account]);
        await scope.beGuest(account);
        return who(scope);
      },
    },
    {
      method: 'POST',
      path: '/sign-in',
      handler: async (scope, { account = '' }) => {
        await scope.signIn(account);
        return who(scope);
      },
    },
    { method: 'POST', path: '/forget-guest', handler: async (scope) => scope.forgetGuest() },
    { method: 'POST', path: '/sign-out', handler: async (scope) => scope.signOut() },
    {
      method: 'GET',
      path: '/stream',
      handler: async () =>
        Readable.from(
          (async function* () {
            for (let i = 0; i < 3; i += 1) {
              yield `chunk ${i};`;
              await delay(60);
            }
          })(),
        ),
    },
    { method: 'GET', path: '/fails', handler: () => Promise.reject(new Error('a mistake of the application')) },
    {
      method: 'POST',
      path: '/swallows',
      handler: async (scope, { account = '' }) => {
        await scope.forAccount(account, async () => {}).catch(() => {});
        return { fine: true };
      },
    },
  ];
}

export async function startFastify(options: ApplicationOptions): Promise<Application> {
  const handled: string[] = [];
  const app = fastify();
  // Not awaited, and the routes right after it: as most people write it.
  void app.register(fastifyLanekeeper, { lanekeeper: options.lanekeeper });
  if (options.ownErrorPages) {
    app.setErrorHandler((error, _request, reply) => {
      void reply
        .code(500)
        .type('text/html')
        .send(`<h1>${(error as Error).message}</h1>`);
    });
  }
  for (const { method, path, replayable: mayRepeat = false, anywhere = false, handler } of routes(options)) {
    app.route<{ Body: Body }>({
      method,
      url: path,
      config: { lanekeeper: { replayable: mayRepeat, anywhere } },
      handler: async (request, reply) => {
        handled.push(path);
        reply.header('set-cookie', 'theme=dark');
        return (await handler(request.lanekeeper, request.body ?? {})) ?? { done: true };
      },
    });
  }
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  return {
    url,
    handled,
    stop: async () => {
      app.server.closeAllConnections();
      await app.close();
    },
  };
}

export async function startExpress(options: ApplicationOptions): Promise<Application> {
  const handled: string[] = [];
  const app = express();
  const anywhere = new Set(routes(options).flatMap((route) => (route.anywhere ? [route.path] : [])));
  app.use(lanekeeperExpress(options.lanekeeper, { anywhere: (request) => anywhere.has(request.path) }));
  app.use(express.json());
  for (const { method, path, replayable: mayRepeat = false, handler } of routes(options)) {
    const before = mayRepeat ? [replayable] : [];
    app[method === 'GET' ? 'get' : 'post'](path, ...before, async (request: Request, response) => {
      handled.push(path);
      response.setHeader('set-cookie', 'theme=dark');
      const result = (await handler(request.lanekeeper, request.body ?? {})) ?? { done: true };
      if (result instanceof Readable) result.pipe(response);
      else response.json(result);
    });
  }
  if (options.ownErrorPages) {
    app.use(((error, _request, response, _next) => {
      response.status(500).type('text/html').send(`<h1>${error.message}</h1>`);
    }) satisfies express.ErrorRequestHandler);
  } else {
    app.use(lanekeeperExpressErrors());
  }
  const server = createServer(app);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    handled,
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
