/** An agent's HTTP side, answered by the test: real requests with real tokens, and moves made by hand. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Succession } from 'lanekeeper/model';
import { createKeyRing, verifyAgentToken } from 'lanekeeper/session';
import type { TestDataCenter } from '../../support/pair.ts';

export type AgentRequest = { readonly method: string; readonly path: string; readonly body: Record<string, unknown> };
/** Null: never answers. */
export type AgentReply = Record<string, unknown> | null;

export type HandAgent = {
  readonly url: string;
  readonly requests: AgentRequest[];
  /** What to answer from now on. */
  answer: (request: AgentRequest) => Promise<AgentReply> | AgentReply;
  /** What it knows of, for `GET /v1/successions`: SDKs and edges ask by themselves, so that is not among the requests. */
  successions: readonly Succession[];
  stop(): Promise<void>;
};

export async function startHandAgent(dc: TestDataCenter): Promise<HandAgent> {
  const ring = createKeyRing(dc.configuration, { env: dc.env });
  const server = createServer((request, response) => {
    void (async () => {
      const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
      if (verifyAgentToken(ring, token, Date.now()).kind !== 'valid') {
        response.writeHead(401).end('{}');
        return;
      }
      if (request.url?.startsWith('/v1/successions') === true) {
        const { successions } = agent;
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ term: successions.at(-1)?.term ?? 1, successions }));
        return;
      }
      const asked = { method: request.method ?? '', path: request.url ?? '', body: await readJson(request) };
      agent.requests.push(asked);
      const reply = await agent.answer(asked);
      if (reply !== null) response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(reply));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent: HandAgent = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    answer: () => null,
    successions: [],
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return agent;
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text === '' ? {} : JSON.parse(text);
}
