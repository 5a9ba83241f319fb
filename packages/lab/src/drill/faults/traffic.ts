/** Faults of traffic: where customers are led, and how they behave. */
import { connect, type Socket } from 'node:net';
import { Browser } from '../load/index.ts';
import { type Arena, turn } from './arena.ts';
import { type Fault, longerThanLeaseMs, unnoticed } from './fault.ts';

function addressOf(
  arena: Arena,
  dataCenter: string,
): { readonly host: string; readonly port: number; readonly url: string } {
  const url = arena.lab.dataCenters[dataCenter]?.edge ?? '';
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port), url };
}

const findings = new WeakMap<Arena, string[]>();
const find = (arena: Arena, what: string): void => {
  findings.set(arena, [...(findings.get(arena) ?? []), what]);
};
const inspect = async (arena: Arena): Promise<readonly string[]> => findings.get(arena) ?? [];

/** Everybody is led home again. */
function leadHome(arena: Arena): void {
  for (const customer of arena.load.customers) customer.lead(customer.home);
}

export const trafficFaults: readonly Fault[] = [
  {
    name: 'dns-stale',
    group: 'traffic',
    description: 'for as long as it lasts DNS leads all customers of one data center to the other one',
    holdMs: 8_000,
    expectation: unnoticed('the other edge passes them on; nobody notices but by the distance'),
    async inject(arena) {
      arena.undo(async () => leadHome(arena));
      for (const customer of arena.load.customers) if (customer.home === arena.at) customer.lead(arena.other, true);
    },
  },
  {
    name: 'checks-lost',
    group: 'traffic',
    description: 'all health checks fail at once, and DNS leads everybody anywhere, anew every half second',
    holdMs: 8_000,
    expectation: {
      ...unnoticed('every edge serves or passes on whoever comes'),
      othersPauseMs: null,
      why: 'everybody is led anywhere',
    },
    async inject(arena) {
      arena.undo(async () => leadHome(arena));
      const endMs = performance.now() + 7_000;
      while (performance.now() < endMs) {
        for (const customer of arena.load.customers) customer.lead(arena.random() < 0.5 ? arena.at : arena.other, true);
        await arena.pause(500);
      }
    },
  },
  {
    name: 'agents-stopped',
    group: 'traffic',
    description: 'kill -9 of the agents of both data centers for longer than the lease; nobody starts them',
    holdMs: longerThanLeaseMs,
    expectation: {
      text: 'writes are refused when the leases run out; reading and routing go on; all is well when agents are back',
      writesAgainMs: 15_000,
      after: 'heal',
      othersPauseMs: null,
      why: 'both data centers lose their lease',
    },
    async inject(arena) {
      for (const site of [arena.at, arena.other]) arena.undo(() => turn(arena, site, 'agent', 'start'));
      await Promise.all([arena.at, arena.other].map((site) => turn(arena, site, 'agent', 'kill')));
      await arena.pause(longerThanLeaseMs - 3_000);
      for (const site of [arena.at, arena.other]) {
        const browser = new Browser(5_000);
        const reached = await browser.send(addressOf(arena, site).url, 'GET', '/products');
        if (reached.kind !== 'answered' || reached.answer.status !== 200)
          find(
            arena,
            `${site} did not serve a page to a reader without agents: ${JSON.stringify(reached).slice(0, 200)}`,
          );
        browser.close();
      }
    },
    inspect,
  },
  {
    name: 'replay-loop',
    group: 'traffic',
    description: 'accounts move to and fro under customers whose cookies are always out of date',
    holdMs: 7_000,
    expectation: {
      text: 'requests find the home by the database, not by the cookie, and nobody is sent round in a circle',
      writesAgainMs: 8_000,
      after: 'fault',
      othersPauseMs: null,
      why: 'accounts of both data centers are moved',
    },
    async inject(arena) {
      const endMs = performance.now() + 6_000;
      const chosen = arena.load.customers.slice(0, 3);
      let moved = 0;
      for (let turnNumber = 0; performance.now() < endMs; turnNumber += 1) {
        for (const customer of chosen) {
          const to = turnNumber % 2 === 0 ? arena.other : arena.at;
          const response = await fetch(new URL('/v1/moves', arena.lab.dataCenters[to]?.agent), {
            method: 'POST',
            headers: { authorization: `Bearer ${arena.agentToken(to)}`, 'content-type': 'application/json' },
            body: JSON.stringify({ account: customer.account, to, waitMs: 2_000, reason: 'drill' }),
            signal: AbortSignal.timeout(4_000),
          }).catch(() => null);
          const answer = (await response?.json().catch(() => null)) as { kind?: string } | null;
          if (answer?.kind === 'moved') moved += 1;
        }
        await arena.pause(300);
      }
      arena.note(`${moved} moves`);
    },
    async inspect(arena) {
      const loops = arena.load
        .history()
        .operations.flatMap(({ attempts }) =>
          attempts.filter(({ outcome }) => outcome.kind === 'refused' && outcome.code === 'LK_LOOP'),
        );
      return loops.length === 0 ? [] : [`${loops.length} requests were sent round in a circle`];
    },
  },
  {
    name: 'slow-client',
    group: 'traffic',
    description: '60 clients send one byte of their request every second',
    holdMs: 8_000,
    expectation: unnoticed('nobody else notices'),
    async inject(arena) {
      const { host, port } = addressOf(arena, arena.at);
      const sockets: Socket[] = [];
      const request = `POST /cart HTTP/1.1\r\nHost: ${host}:${port}\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n`;
      for (let n = 0; n < 60; n += 1) {
        const socket = connect({ host, port });
        socket.on('error', () => {});
        socket.write(request.slice(0, 20));
        sockets.push(socket);
      }
      let at = 20;
      const timer = setInterval(() => {
        for (const socket of sockets) if (socket.writable) socket.write(request[at] ?? ' ');
        at += 1;
      }, 1_000);
      arena.undo(async () => {
        clearInterval(timer);
        for (const socket of sockets) socket.destroy();
      });
    },
  },
];
