/** The part of an agent that edges listen to: `GET /v1/successions`, on the wire, with real tokens. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Succession } from 'lanekeeper/model';
import { type KeyRing, verifyAgentToken } from 'lanekeeper/session';

export type NewsAgent = {
  readonly url: string;
  /** Needed before the first question: whose tokens are good. */
  keys: KeyRing | null;
  /** Questions with a good token. */
  asked: number;
  readonly waiting: number;
  /** Answers everybody who waits. */
  announce(...successions: readonly Succession[]): void;
  /** Answers with this from now on, whatever it is. */
  babble(status: number, body: string): void;
  stop(): Promise<void>;
};

export async function startNewsAgent(): Promise<NewsAgent> {
  let history: readonly Succession[] = [];
  let babble: { status: number; body: string } | null = null;
  const waiting = new Set<() => void>();
  const term = () => history.at(-1)?.term ?? 1;
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://agent');
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    if (agent.keys === null || verifyAgentToken(agent.keys, token, Date.now()).kind !== 'valid') {
      response.writeHead(401).end('{}');
      return;
    }
    agent.asked += 1;
    const answer = (): void => {
      waiting.delete(answer);
      clearTimeout(timer);
      const { status, body } = babble ?? { status: 200, body: JSON.stringify({ term: term(), successions: history }) };
      response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    };
    const timer = setTimeout(answer, Number(url.searchParams.get('waitMs')));
    if (url.pathname !== '/v1/successions') response.writeHead(404).end('{}');
    else if (babble !== null || term() > Number(url.searchParams.get('after'))) answer();
    else waiting.add(answer);
    response.on('close', () => {
      clearTimeout(timer);
      waiting.delete(answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const tell = () => {
    for (const answer of [...waiting]) answer();
  };
  const agent: NewsAgent = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys: null,
    asked: 0,
    get waiting() {
      return waiting.size;
    },
    announce: (...successions) => {
      history = successions;
      babble = null;
      tell();
    },
    babble: (status, body) => {
      babble = { status, body };
      tell();
    },
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  return agent;
}
