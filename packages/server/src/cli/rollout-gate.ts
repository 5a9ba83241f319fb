/**
 * A new configuration or version goes to one data center at a time, in `rollout.order`: the next takes it when the one before has been
 * healthy with it for `rollout.bake`. Asked by `apply` and `agent` before they do anything; `--now` goes on all the same.
 */
import { type Configuration, configurationDigest, formatDuration } from 'lanekeeper/config';
import type { DataCenterName } from 'lanekeeper/model';
import { type Connect, type RolloutEntry, readRollout } from '../postgres/index.ts';
import { CommandFailure, exitCodes } from './output.ts';
import { productVersion } from './version.ts';

export type RolloutQuestion = {
  readonly configuration: Pick<Configuration, 'here' | 'rollout'>;
  readonly digest: string;
  readonly version: string;
  /** What this data center has had, the present first. */
  readonly own: readonly RolloutEntry[];
  /** The same of the one before; null when its database cannot be asked. */
  readonly before: readonly RolloutEntry[] | null;
};

export type RolloutVerdict =
  | { readonly kind: 'go' }
  | { readonly kind: 'wait'; readonly why: string; readonly leftMs: number | null }
  /** The one before cannot be asked. */
  | { readonly kind: 'unknown'; readonly before: DataCenterName };

/** The leading agent notes it every few seconds. */
const silentMs = 60_000;

export function judgeRollout({ configuration, digest, version, own, before }: RolloutQuestion): RolloutVerdict {
  const { here, rollout } = configuration;
  const [present] = own;
  const predecessor = predecessorOf(configuration);
  // Somebody has to be first, and a first start is not a change.
  if (predecessor === null || present === undefined) return { kind: 'go' };
  const same = (entry: RolloutEntry) => entry.digest === digest && entry.version === version;
  // A restart, or back to what was well here before.
  if (same(present) || own.some((entry) => same(entry) && entry.wasHealthy)) return { kind: 'go' };
  if (before === null) return { kind: 'unknown', before: predecessor };
  const there = before[0];
  if (there === undefined || !same(there)) {
    const has = there === undefined ? 'nothing yet' : `${there.digest} with version ${there.version}`;
    const why = `${predecessor} comes before ${here} and has ${has}, not ${digest} with version ${version}`;
    return { kind: 'wait', why, leftMs: null };
  }
  if (there.healthyForMs === null || there.seenAgoMs > silentMs)
    return { kind: 'wait', why: `${predecessor} has it, and is not healthy with it`, leftMs: null };
  const leftMs = rollout.bakeMs - there.healthyForMs;
  if (leftMs <= 0) return { kind: 'go' };
  const forText = formatDuration(Math.floor(there.healthyForMs / 1_000) * 1_000);
  const why = `${predecessor} has been healthy with it for ${forText} of ${formatDuration(rollout.bakeMs)}`;
  return { kind: 'wait', why, leftMs };
}

export function predecessorOf({ here, rollout }: Pick<Configuration, 'here' | 'rollout'>): DataCenterName | null {
  return rollout.order[rollout.order.indexOf(here) - 1] ?? null;
}

export type GateOptions = {
  readonly configuration: Configuration;
  readonly connect: (dc: DataCenterName) => Connect;
  /** `--now` */
  readonly now: boolean;
  /** What to do where the one before cannot be asked: a command of a person asks again, an agent says so and goes on. */
  readonly onUnknown: 'refuse' | { readonly say: (message: string) => void };
};

/** @throws {CommandFailure} when it is too early */
export async function passRolloutGate({ configuration, connect, now, onUnknown }: GateOptions): Promise<void> {
  const predecessor = predecessorOf(configuration);
  if (now || predecessor === null) return;
  const own = await rolloutIn(connect(configuration.here));
  // Without its own database nothing is going to be done in any case, and there it is said better.
  if (own === null || own.length === 0) return;
  const question = { configuration, digest: configurationDigest(configuration), version: productVersion(), own };
  // The one before is asked only where it matters: it may be away, and an agent that starts again has no time for that.
  let verdict = judgeRollout({ ...question, before: null });
  if (verdict.kind === 'unknown')
    verdict = judgeRollout({ ...question, before: await rolloutIn(connect(predecessor)) });
  if (verdict.kind === 'go') return;
  const { here } = configuration;
  if (verdict.kind === 'wait') {
    const later =
      verdict.leftMs === null ? '' : ` Try again in ${formatDuration(Math.ceil(verdict.leftMs / 1_000) * 1_000)}.`;
    throw new CommandFailure(`Too early for this configuration in ${here}: ${verdict.why}.`, {
      exitCode: exitCodes.no,
      hint: `\`lanekeeper config rollout\` shows who has what.${later} --now does not wait.`,
    });
  }
  const unknown = `the database of ${verdict.before}, which comes before ${here}, cannot be asked whether it is well with this configuration`;
  if (onUnknown !== 'refuse') return onUnknown.say(unknown);
  throw new CommandFailure(`New configuration in ${here}: ${unknown}.`, {
    exitCode: exitCodes.no,
    hint: `If ${verdict.before} is down and this cannot wait for it: --now.`,
  });
}

async function rolloutIn(connect: Connect): Promise<readonly RolloutEntry[] | null> {
  const connected = await connect('lanekeeper rollout');
  if (connected.kind === 'unavailable') return null;
  try {
    return await readRollout(connected.client);
  } catch {
    return null;
  } finally {
    await connected.client.end().catch(() => {});
  }
}
