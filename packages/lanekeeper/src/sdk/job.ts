/** `forAccount`: a piece of work bound to one account, inside a request or outside of any. */
import { type AccountId, LanekeeperError } from '../model/index.ts';
import { admit, type Hint } from './admission.ts';
import { ReplayError } from './answer.ts';
import { type Binding, currentBinding, isWithin, isWithinAny, runBound } from './binding.ts';
import { Flight } from './flight.ts';
import { ownerOf, type Runtime } from './runtime.ts';

/** How long data on their way to us are waited for. Their deed travels in the same stream, so it is close behind the request. */
export const arrivalWaitMs = 2_000;

/**
 * @throws {ReplayError} when the account is homed elsewhere; `work` has not been started
 * @throws {LanekeeperError} `LK_UNKNOWN_ACCOUNT`, `LK_ARRIVING`, `LK_MOVING`
 */
export async function runForAccount<Result>(
  runtime: Runtime,
  account: AccountId,
  work: () => Promise<Result>,
  hint: Hint | null = null,
): Promise<Result> {
  const outer = currentBinding() ?? null;
  const flight = new Flight();
  const binding = bindingFor(runtime, account, outer, flight);
  const owner = ownerOf(runtime, account);
  try {
    if (!isWithin(outer ?? undefined, owner)) {
      await enter(runtime, account, flight, hint, isWithinAny(outer ?? undefined)).catch((error: unknown) => {
        if (error instanceof LanekeeperError) outer?.noticeRefusal(error);
        throw error;
      });
    }
    return await runBound(binding, work);
  } finally {
    flight.land();
  }
}

async function enter(
  runtime: Runtime,
  account: AccountId,
  flight: Flight,
  hint: Hint | null,
  within: boolean,
): Promise<void> {
  const owner = ownerOf(runtime, account);
  const { here, configuration } = runtime;
  const waitMs = configuration.moves.drainMs + arrivalWaitMs;
  const admission = await admit(runtime, { account: owner, hint, hops: 0, waitMs, within });
  const details = { account, dataCenter: here };
  switch (admission.kind) {
    case 'here':
      flight.add(owner, admission.leave);
      return;
    case 'unknown':
      admission.leave();
      throw new LanekeeperError('LK_UNKNOWN_ACCOUNT', undefined, details);
    case 'elsewhere':
      throw new ReplayError(admission.home, { ...details, term: admission.term });
    case 'arriving':
      throw new LanekeeperError('LK_ARRIVING', undefined, { ...details, home: here });
    case 'moving':
      throw new LanekeeperError('LK_MOVING', undefined, details);
  }
}

function bindingFor(runtime: Runtime, account: AccountId, outer: Binding | null, flight: Flight): Binding {
  return {
    account,
    owner: ownerOf(runtime, account),
    dataCenter: runtime.here,
    requestId: outer?.requestId,
    scope: outer?.scope ?? null,
    outer,
    covers: (other) => flight.covers(other),
    isCounted: () => flight.isCounted,
    hold: () => flight.hold(),
    homeNow: (other) => homeNow(runtime, other),
    successorOf: (other) => successorOf(runtime, other),
    noticeRefusal: (error) => outer?.noticeRefusal(error),
    noticeDurability: (durability) => outer?.noticeDurability(durability),
  };
}

/** Where the database says the account is; null when it cannot be asked. */
export async function homeNow(runtime: Runtime, account: AccountId): Promise<string | null> {
  try {
    return (await runtime.deeds.whereIsNow(ownerOf(runtime, account)))?.home ?? null;
  } catch {
    return null;
  }
}

/** Where else the account is written, as far as any agents know; null when they know of nowhere. Takes half a second at most. */
export async function successorOf(runtime: Runtime, account: AccountId): Promise<string | null> {
  await runtime.successions.learn();
  const home = await homeNow(runtime, account);
  return home === runtime.here ? null : home;
}
