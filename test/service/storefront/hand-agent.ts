/**
 * An agent by hand: what an application asks of it over HTTP (claims, moves, who succeeded whom), done step by step in the
 * databases. It leaves out what agents decide for themselves: dwell, budget, the gate.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Succession } from 'lanekeeper/model';
import { Client } from 'pg';
import type { TestPair } from '../../support/pair.ts';

export type HandAgent = {
  readonly url: string;
  /** What was asked, in order. */
  readonly asked: { readonly method: string; readonly path: string; readonly body: Record<string, unknown> }[];
  /** Answer moves with this instead of doing them. */
  refuseMoves: string | null;
  /** What it says of switchovers; nobody is told before he asks. */
  readonly successions: Succession[];
  /** Do not answer questions about claims. */
  silentClaims: boolean;
  stop(): Promise<void>;
};

type Answer = Readonly<Record<string, unknown>> & { readonly kind: string };

export async function startHandAgent(pair: TestPair, here: string): Promise<HandAgent> {
  const agent: HandAgent = {
    url: '',
    asked: [],
    refuseMoves: null,
    successions: [],
    silentClaims: false,
    stop: async () => {},
  };
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as Record<string, unknown>;
      const { method = '', url: path = '' } = request;
      if (path.startsWith('/v1/successions')) {
        const { successions } = agent;
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ term: successions.at(-1)?.term ?? 1, successions }));
        return;
      }
      agent.asked.push({ method, path, body });
      const answered = path === '/v1/claims' ? claim(agent, pair, here, method, body) : moves(agent, pair, body);
      answered.then(
        (answer) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer)),
        (error: unknown) => response.writeHead(500).end(JSON.stringify({ kind: 'failed', reason: String(error) })),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(agent, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  });
}

async function claim(
  agent: HandAgent,
  pair: TestPair,
  here: string,
  method: string,
  { name, value, account }: Record<string, unknown>,
): Promise<Answer> {
  if (agent.silentClaims) return { kind: 'unavailable', reason: 'the home of this bucket does not answer' };
  const [holder] = await query(pair, here, 'SELECT * FROM lanekeeper.claim_holder($1, $2)', [name, value]);
  const home = String(holder?.home);
  if (method === 'DELETE') {
    await query(pair, home, 'SELECT lanekeeper.release_claim($1, $2, $3)', [name, value, account]);
    return { kind: 'released' };
  }
  const [claimed] = await query(pair, home, 'SELECT lanekeeper.claim_value($1, $2, $3) AS held', [
    name,
    value,
    account,
  ]);
  if (claimed?.held !== true) return { kind: 'taken' };
  await until('the claim is known here', async () => {
    const [known] = await query(pair, here, 'SELECT account FROM lanekeeper.claim_holder($1, $2)', [name, value]);
    return known?.account === account;
  });
  return { kind: 'claimed' };
}

async function moves(agent: HandAgent, pair: TestPair, body: Record<string, unknown>): Promise<Answer> {
  const account = String(body.account);
  const to = String(body.to);
  const where = await whereIs(pair, to, account);
  if (where === null) return { kind: 'refused', home: null, reason: 'unknown account' };
  if (where.home === to) return { kind: 'already-there', ...where };
  if (agent.refuseMoves !== null) return { kind: 'refused', ...where, reason: agent.refuseMoves };
  const [used] = await query(pair, where.home, 'SELECT lanekeeper.last_used($1) AS at', [account]);
  if (body.ifIdle === true && used?.at !== null) return { kind: 'in-use', ...where };
  await moveByHand(pair, account, where, to);
  return { kind: 'moved', ...(await whereIs(pair, to, account)) };
}

type Where = { readonly home: string; readonly epoch: { readonly term: number; readonly counter: number } };

async function whereIs(pair: TestPair, seenFrom: string, account: string): Promise<Where | null> {
  const [deed] = await query(pair, seenFrom, 'SELECT * FROM lanekeeper.where_is($1)', [account]);
  if (deed === undefined) return null;
  return { home: String(deed.home), epoch: { term: Number(deed.term), counter: Number(deed.counter) } };
}

/** Drain, wait for what is in flight, give, wait for the deed, accept. */
export async function moveByHand(pair: TestPair, account: string, from: Where, to: string): Promise<void> {
  const giver = await connect(pair, from.home);
  try {
    const waiting = new Set<string>();
    const early: { move: number; instance: string }[] = [];
    giver.on('notification', ({ payload }) => early.push(JSON.parse(payload ?? '{}')));
    await giver.query('LISTEN lanekeeper_agent');
    const begun = await giver.query('SELECT lanekeeper.begin_drain($1, $2, $3) AS move', [
      account,
      to,
      Date.now() + 5000,
    ]);
    const instances = await giver.query('SELECT instance FROM lanekeeper.instances() AS instance');
    for (const row of instances.rows) waiting.add(row.instance);
    await until('the instances have drained', () => {
      for (const { move, instance } of early) if (move === Number(begun.rows[0].move)) waiting.delete(instance);
      return waiting.size === 0;
    });
    const given = await giver.query('SELECT * FROM lanekeeper.give($1, $2, $3, $4)', [
      account,
      to,
      from.epoch.term,
      from.epoch.counter,
    ]);
    const { kind, term, counter } = given.rows[0];
    if (kind !== 'given') throw new Error(`${from.home} did not give ${account}: ${kind}`);
    // All the living (R3).
    for (const dc of pair.names) {
      await until(
        `the deed has arrived in ${dc}`,
        async () => (await whereIs(pair, dc, account))?.epoch.counter === Number(counter),
      );
    }
    const [accepted] = await query(pair, to, 'SELECT * FROM lanekeeper.accept($1, $2, $3)', [account, term, counter]);
    if (accepted?.kind !== 'accepted') throw new Error(`${to} did not accept: ${JSON.stringify(accepted)}`);
  } finally {
    await giver.end();
  }
}

async function connect(pair: TestPair, dc: string): Promise<Client> {
  const client = new Client({ connectionString: pair.dc(dc).urls.agent });
  await client.connect();
  return client;
}

async function query(pair: TestPair, dc: string, sql: string, values: unknown[]): Promise<Record<string, unknown>[]> {
  const client = await connect(pair, dc);
  try {
    return (await client.query<Record<string, unknown>>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

export async function until(what: string, holds: () => Promise<boolean> | boolean, timeoutMs = 30_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
