/** One approach in a lab of its own: requests at several distances, then the first data center is killed under load. */
import type { ApproachName } from 'lanekeeper/model';
import type { LabDescription } from '../../lab/description.ts';
import { LinksClient } from '../../links/client.ts';
import { sleepMs } from '../../processes/observe.ts';
import { type DatabaseUrls, dropLog, readLog, startLogs } from '../checker/index.ts';
import { runDrill } from '../drill.ts';
import { type Fault, findFault, superusers } from '../faults/index.ts';
import { Browser } from '../load/index.ts';
import { startOwnLab } from '../own-lab.ts';
import { recoveryOf } from '../report/index.ts';
import { type Latencies, Probe } from './probe.ts';

/** Who the customer is, and through which edge he comes. */
export type Way = 'first' | 'second' | 'away';

export const ways: Readonly<Record<Way, string>> = {
  first: 'lives in the first data center and comes there',
  second: 'lives in the second data center and comes there',
  away: 'is signed in at the first data center, and comes to the second at the same time',
};

export type ApproachResult = {
  readonly approach: ApproachName;
  /** In the order in which they were measured. */
  readonly distances: readonly {
    readonly roundTripMs: number;
    readonly ways: Readonly<Record<Way, Latencies>>;
  }[];
  readonly dataCenters: readonly string[];
  /** Data centers in whose database customers' requests wrote something, as its log says. */
  readonly writers: readonly string[];
  readonly failure: {
    readonly roundTripMs: number;
    /** Null when nobody had to wait noticeably. */
    readonly recoveryMs: number | null;
    readonly acknowledged: number;
    readonly lost: number;
    readonly stranded: number;
    /** What did not hold; empty when all did. */
    readonly violated: readonly string[];
  };
};

export type MeasureOptions = {
  readonly approach: ApproachName;
  readonly roundTripsMs: readonly number[];
  /** Of the failure. */
  readonly failureRoundTripMs: number;
  /** Requests of each kind for each way and distance. */
  readonly requests: number;
  readonly seed: number;
  readonly env: NodeJS.ProcessEnv;
  readonly aborted: () => boolean;
  readonly onNote: (text: string) => void;
};

export async function measureApproach(options: MeasureOptions): Promise<ApproachResult> {
  const { approach, roundTripsMs, failureRoundTripMs, env, onNote } = options;
  const lab = await startOwnLab({
    dataCenters: ['ny', 'la'],
    roundTripMs: roundTripsMs[0] ?? 0,
    env,
    kind: 'plain',
    clocks: null,
    approach,
  });
  try {
    const urls = superusers(lab.description);
    await startLogs(urls);
    const distances: { roundTripMs: number; ways: Record<Way, Latencies> }[] = [];
    for (const roundTripMs of roundTripsMs) {
      await setDistance(lab.description, roundTripMs);
      onNote(`requests at ${roundTripMs} ms`);
      distances.push({ roundTripMs, ways: await measureWays(lab.description, roundTripMs, options) });
    }
    const writers = await writersOf(urls);
    await setDistance(lab.description, failureRoundTripMs);
    onNote(`the first data center is killed, at ${failureRoundTripMs} ms`);
    return {
      approach,
      distances,
      dataCenters: Object.keys(lab.description.dataCenters),
      writers,
      failure: await measureFailure(lab.description, options),
    };
  } finally {
    await lab.stop();
  }
}

async function writersOf(urls: DatabaseUrls): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [name, url] of Object.entries(urls)) {
    const transactions = (await readLog(url)) ?? [];
    if (transactions.some(({ local, changes }) => local && changes.some(({ table }) => table === 'public.cart_lines')))
      found.push(name);
    await dropLog(url);
  }
  return found;
}

async function setDistance(lab: LabDescription, roundTripMs: number): Promise<void> {
  const links = new LinksClient(lab.links);
  const [first, second] = siteNames(lab);
  await links.changeBoth(first, second, { delayMs: roundTripMs / 2 });
}

function siteNames(lab: LabDescription): readonly [string, string] {
  const [first, second] = Object.keys(lab.dataCenters);
  return [first as string, second as string];
}

async function measureWays(
  lab: LabDescription,
  roundTripMs: number,
  { requests, approach }: MeasureOptions,
): Promise<Record<Way, Latencies>> {
  const [first, second] = siteNames(lab);
  const edges = Object.fromEntries(Object.entries(lab.dataCenters).map(([name, dc]) => [name, dc.edge]));
  const sku = await firstSku(edges[first] as string);
  const probe = (name: string) =>
    new Probe(edges, `${approach}-${roundTripMs}-${name}-${process.pid}@probe.example`.replaceAll(/[^\w.@-]/g, '-'));
  const probes = { first: probe('first'), second: probe('second'), away: probe('away') };
  try {
    await probes.first.register(first);
    await probes.second.register(second);
    await probes.away.register(first);
    await probes.away.signIn(second);
    // A sign-in may still be on its way to where it is read.
    await sleepMs(500);
    return {
      first: await probes.first.measure(first, sku, requests),
      second: await probes.second.measure(second, sku, requests),
      away: await probes.away.measure(second, sku, requests),
    };
  } finally {
    for (const one of Object.values(probes)) one.close();
  }
}

async function firstSku(edge: string): Promise<string> {
  const browser = new Browser(10_000);
  try {
    const reached = await browser.send(edge, 'GET', '/products');
    const products = reached.kind === 'answered' ? reached.answer.body : null;
    const [product] = Array.isArray(products) ? (products as { readonly sku: string }[]) : [];
    if (product === undefined) throw new Error('The storefront has nothing on its shelf');
    return product.sku;
  } finally {
    browser.close();
  }
}

/** Everything in the first data center, which is where all homes are when there is one for all. */
async function measureFailure(lab: LabDescription, options: MeasureOptions): Promise<ApproachResult['failure']> {
  const [first] = siteNames(lab);
  const killed = findFault('dc-killed') as Fault;
  const run = await runDrill(
    {
      ...killed,
      expectation: { ...killed.expectation, othersPauseMs: null, why: 'with one home for all there are no others' },
    },
    {
      lab,
      at: first,
      seed: options.seed,
      durationMs: null,
      buyers: 4,
      keepers: 2,
      assertion: null,
      aborted: options.aborted,
      onNote: (_atMs, text) => options.onNote(text),
    },
  );
  const [round] = run.rounds;
  if (round === undefined) throw new Error('the failure did not come about');
  const recovery = recoveryOf(
    run.history,
    round,
    { detectedMs: null, decidedMs: null, promotedMs: null },
    run.loadEndMs,
  );
  const { acknowledged, lost, stranded } = run.checked.tally;
  return {
    roundTripMs: options.failureRoundTripMs,
    recoveryMs: recovery.lastClientMs,
    acknowledged,
    lost,
    stranded,
    violated: [
      ...run.failures,
      ...Object.entries(run.checked.verdicts).flatMap(([name, verdict]) =>
        verdict.kind === 'violated' ? verdict.violations.slice(0, 3).map((what) => `${name}: ${what}`) : [],
      ),
    ],
  };
}
