/** `forAccount`: a piece of work bound to one account, inside a request or outside of any. */
import { type AccountId, type DataCenterName, LanekeeperError } from '../model/index.ts';
import { admit, type Hint } from './admission.ts';
import { ReplayError } from './answer.ts';
import { type Binding, currentBinding, isWithinAny, runBound, workAround } from './binding.ts';
import { Flight } from './flight.ts';
import { Lane, reaches } from './lane.ts';
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
  const lane = new Lane(runtime);
  const binding = bindingFor(runtime, account, outer, flight, lane);
  const owner = ownerOf(runtime, account);
  try {
    const around = workAround(outer, owner);
    if (around !== null) {
      lane.goTo(around.lane);
    } else {
      lane.goTo(
        await enter(runtime, account, flight, hint, isWithinAny(outer ?? undefined)).catch((error: unknown) => {
          if (error instanceof LanekeeperError) outer?.noticeRefusal(error);
          throw error;
        }),
      );
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
): Promise<DataCenterName> {
  const owner = ownerOf(runtime, account);
  const { here, configuration } = runtime;
  const waitMs = configuration.moves.drainMs + arrivalWaitMs;
  const follows = (home: DataCenterName) => reaches(runtime, home);
  const admission = await admit(runtime, { account: owner, hint, hops: 0, waitMs, within, follows });
  const details = { account, dataCenter: here };
  switch (admission.kind) {
    case 'here':
      flight.add(owner, admission.leave);
      return here;
    case 'unknown':
      admission.leave();
      throw new LanekeeperError('LK_UNKNOWN_ACCOUNT', undefined, details);
    case 'elsewhere':
      if (follows(admission.home)) {
        flight.add(owner, admission.leave);
        return admission.home;
      }
      throw new ReplayError(admission.home, { ...details, term: admission.term });
    case 'arriving':
      throw new LanekeeperError('LK_ARRIVING', undefined, { ...details, home: here });
    case 'moving':
      throw new LanekeeperError('LK_MOVING', undefined, details);
  }
}

function bindingFor(runtime: Runtime, account: AccountId, outer: Binding | null, flight: Flight, lane: Lane): Binding {
  return {
    account,
    get lane() {
      return lane.dataCenter;
    },
    owner: ownerOf(runtime, account),
    dataCenter: runtime.here,
    requestId: outer?.requestId,
    scope: outer?.scope ?? null,
    outer,
    covers: (other) => flight.covers(other),
    isCounted: () => flight.isCounted,
    hold: () => flight.hold(),
    homeNow: (other, at) => homeNow(runtime, other, at),
    successorOf: (other, at) => successorOf(runtime, other, at),
    noticeRefusal: (error) => outer?.noticeRefusal(error),
    wentTo: (dataCenter, refusal) => {
      lane.followed(dataCenter, refusal, ownerOf(runtime, account));
      outer?.wentTo(dataCenter, refusal);
    },
    noticeDurability: (durability, dataCenter) => outer?.noticeDurability(durability, dataCenter),
  };
}

/** Where the database in `at` says the account is; null when it cannot be asked. */
export async function homeNow(runtime: Runtime, account: AccountId, at = runtime.here): Promise<string | null> {
  const { deeds, lanes, here } = runtime;
  const owner = ownerOf(runtime, account);
  try {
    const where = at === here || lanes === null ? await deeds.whereIsNow(owner) : await lanes.whereIs(at, owner);
    return where?.home ?? null;
  } catch {
    return null;
  }
}

/** Where else the account is written, as far as any agents know; null when they know of nowhere. Takes half a second at most. */
export async function successorOf(runtime: Runtime, account: AccountId, at = runtime.here): Promise<string | null> {
  await runtime.successions.learn();
  const home = await homeNow(runtime, account);
  return home === at ? null : home;
}
