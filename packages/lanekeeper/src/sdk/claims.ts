/**
 * Values that must be unique in all dcs: the agents know who keeps each of them (protocol.md, Claims). With one home for all accounts
 * everything is written in one database, whose unique index says it: nobody is asked.
 */
import { type AccountId, LanekeeperError } from '../model/index.ts';
import type { ClaimResult, ReleaseResult } from './api.ts';
import { currentBinding } from './binding.ts';
import type { Runtime } from './runtime.ts';

const timeoutMs = 5_000;

export async function claimValue(
  runtime: Runtime,
  name: string,
  value: string,
  account: AccountId,
): Promise<ClaimResult> {
  const answer = await ask(runtime, 'POST', name, value, account);
  if (answer.kind === 'claimed' || answer.kind === 'taken') return { kind: answer.kind };
  return { kind: 'unavailable', reason: answer.reason };
}

export async function releaseValue(
  runtime: Runtime,
  name: string,
  value: string,
  account: AccountId,
): Promise<ReleaseResult> {
  const answer = await ask(runtime, 'DELETE', name, value, account);
  return answer.kind === 'unavailable' ? { kind: 'unavailable', reason: answer.reason } : { kind: 'released' };
}

async function ask(runtime: Runtime, method: 'POST' | 'DELETE', name: string, value: string, account: AccountId) {
  if (runtime.configuration.homes === 'single') return { kind: method === 'POST' ? 'claimed' : 'released', reason: '' };
  if (!Object.hasOwn(runtime.configuration.claims, name)) {
    const known = Object.keys(runtime.configuration.claims).join(', ') || 'none';
    throw new LanekeeperError('LK_CONFIG', `There is no claim \`${name}\` in the configuration. There is: ${known}.`);
  }
  // They answer when the database in which it will be used has it.
  const agents = runtime.agentsOf(currentBinding()?.lane ?? runtime.here);
  try {
    const answer = await agents.call({ method, path: '/v1/claims', body: { name, value, account }, timeoutMs });
    return { kind: answer.kind, reason: typeof answer.reason === 'string' ? answer.reason : answer.kind };
  } catch (error) {
    if (!(error instanceof LanekeeperError)) throw error;
    return { kind: 'unavailable', reason: error.message };
  }
}
