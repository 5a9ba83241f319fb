/**
 * The two paths that the edge keeps for itself. Health is for load balancers and other edges, and says no more than they
 * need. Metrics are for operators: on this machine, or with the token; whoever came through a proxy is not on this machine,
 * even if the proxy is.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Admitted } from './admit.ts';
import { type Answer, json, plain } from './answers.ts';
import type { EdgeContext } from './context.ts';
import { exposition } from './counters.ts';
import { isHealthy } from './instances.ts';
import { healthPath } from './probes.ts';
import type { Origin } from './request-headers.ts';
import type { Sender } from './route.ts';

export const metricsPath = '/lanekeeper/metrics';

/** Null for every other path. */
export function ownPage(
  edge: EdgeContext,
  admitted: Admitted,
  sender: Sender,
  origin: Origin,
  metricsToken: string | null,
): Answer | null {
  if (!admitted.path.startsWith('/lanekeeper/')) return null;
  const path = admitted.path.split('?', 1)[0] as string;
  if (path === healthPath) return health(edge, sender);
  if (path !== metricsPath) return null;
  if (!mayReadMetrics(admitted, origin, metricsToken))
    return json(404, edge.here, { error: { message: 'Not found.' } });
  return plain(200, edge.here, exposition(edge.counters, gauges(edge)));
}

function health(edge: EdgeContext, sender: Sender): Answer {
  // The one answer that tells another edge why its requests are not believed here.
  if (sender.kind === 'unproven-edge') {
    return json(401, edge.here, { status: 'FAIL', dataCenter: edge.here, reason: 'edge-token-refused' });
  }
  const nowMs = Date.now();
  const { instances } = edge.table;
  const healthy = instances.filter((instance) => isHealthy(instance, nowMs)).length;
  const reason = edge.draining ? 'draining' : healthy === 0 ? 'no-application' : null;
  const facts = {
    dataCenter: edge.here,
    applications: { healthy, configured: instances.length },
    configuration: edge.digest,
  };
  if (reason !== null) return json(503, edge.here, { status: 'FAIL', reason, ...facts });
  return json(200, edge.here, { status: 'PASS', ...facts });
}

function mayReadMetrics(admitted: Admitted, origin: Origin, token: string | null): boolean {
  if (token !== null && isBearer(admitted.endToEnd, token)) return true;
  const loopback = origin.address === '::1' || origin.address.startsWith('127.');
  return loopback && admitted.forwarded.length === 0;
}

function isBearer(pairs: readonly string[], token: string): boolean {
  const expected = Buffer.from(`Bearer ${token}`);
  for (let i = 0; i < pairs.length; i += 2) {
    if ((pairs[i] as string).toLowerCase() !== 'authorization') continue;
    const given = Buffer.from(pairs[i + 1] as string, 'latin1');
    return given.length === expected.length && timingSafeEqual(given, expected);
  }
  return false;
}

function gauges(edge: EdgeContext) {
  const nowMs = Date.now();
  const { instances, peers } = edge.table;
  return [
    {
      name: 'instance_healthy',
      help: 'Whether an application instance is given requests.',
      values: instances.map((one) => [`instance="${one.url}"`, isHealthy(one, nowMs) ? 1 : 0] as const),
    },
    {
      name: 'instance_busy',
      help: 'Requests under way at an application instance.',
      values: instances.map((one) => [`instance="${one.url}"`, one.busy] as const),
    },
    {
      name: 'peer_reachable',
      help: 'Whether the edge of another data center answers and believes us.',
      values: [...peers.values()].map((peer) => [`dc="${peer.name}"`, peer.reachable ? 1 : 0] as const),
    },
    {
      name: 'succession_term',
      help: 'The term of the last succession that this edge has heard of; 1 without any.',
      values: [['', edge.table.successions.term] as const],
    },
    { name: 'held', help: 'Requests that wait for their home.', values: [['', edge.held.size] as const] },
    { name: 'kept_bytes', help: 'Bodies kept for a replay.', values: [['', edge.budget.bytes] as const] },
  ];
}
