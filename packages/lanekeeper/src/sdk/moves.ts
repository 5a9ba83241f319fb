/** Asking the agents to move an account. Dwell, budget and whether it is in use are theirs to judge. */
import { type AccountId, type DataCenterName, type Epoch, LanekeeperError, moveKinds } from '../model/index.ts';
import type { AgentAnswer } from './agent-client.ts';
import type { MoveOptions, MoveResult } from './api.ts';
import type { Runtime } from './runtime.ts';

const defaultWaitMs = 5_000;
/** For the answer to come back after the agents' own time is up. */
const answerMarginMs = 1_000;

/** @throws {LanekeeperError} `LK_AGENT_UNAVAILABLE` */
export async function requestMove(
  { agents }: Runtime,
  account: AccountId,
  to: DataCenterName,
  { ifIdle = false, waitMs = defaultWaitMs, reason }: MoveOptions = {},
): Promise<MoveResult> {
  const body = { account, to, ifIdle, waitMs, ...(reason === undefined ? {} : { reason }) };
  return toMoveResult(
    await agents.call({ method: 'POST', path: '/v1/moves', body, timeoutMs: waitMs + answerMarginMs }),
  );
}

/** For a sign-in: within `waitMs` altogether, and without an answer the account stays where it is. */
export async function moveHereIfIdle(runtime: Runtime, account: AccountId, waitMs: number): Promise<MoveResult> {
  const body = { account, to: runtime.here, ifIdle: true, waitMs: Math.floor(waitMs), reason: 'sign-in' };
  try {
    return toMoveResult(await runtime.agents.call({ method: 'POST', path: '/v1/moves', body, timeoutMs: waitMs }));
  } catch (error) {
    if (!(error instanceof LanekeeperError)) throw error;
    return { kind: 'unreachable', home: null, epoch: null, reason: error.code };
  }
}

/** What an agent of another version might leave out is null, never made up. */
export function toMoveResult(answer: AgentAnswer): MoveResult {
  const kind = moveKinds.find((known) => known === answer.kind);
  return {
    kind: kind ?? 'refused',
    home: typeof answer.home === 'string' ? answer.home : null,
    epoch: toEpoch(answer.epoch),
    reason: typeof answer.reason === 'string' ? answer.reason : kind === undefined ? answer.kind : null,
  };
}

function toEpoch(value: unknown): Epoch | null {
  if (typeof value !== 'object' || value === null) return null;
  const { term, counter } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(term) || !Number.isSafeInteger(counter)) return null;
  return { term: term as number, counter: counter as number };
}
