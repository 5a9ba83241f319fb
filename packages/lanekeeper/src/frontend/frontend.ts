/**
 * The routing of calls: a frontend has no database and no state, and calls backends, which are ordinary applications of Lanekeeper.
 *
 * - `frontend.ts` (here): puts it together · `backend.ts`: the calls of one customer's request
 * - `follow.ts`: where a call goes next, pure · `instances.ts`: which backend · `send.ts`: one call · `cookies.ts`
 *
 * Nothing here decides who may write: the backend's database does (R1).
 */
import { type Configuration, loadConfiguration } from '../config/index.ts';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';
import { createKeyRing } from '../session/index.ts';
import { type Backend, type CustomerRequest, createBackend, type Shared } from './backend.ts';
import { Instances } from './instances.ts';
import { Sender } from './send.ts';

export type FrontendOptions = {
  /** Path of the configuration file, or the configuration itself. Default: `LANEKEEPER_CONFIG`, else `./lanekeeper.yaml`. */
  readonly config?: string | Configuration;
  /** Where `LANEKEEPER_*` are read from. Default: `process.env`. No password and no signing key is needed. */
  readonly env?: NodeJS.ProcessEnv;
  /** To connect to a backend. Default 2000. */
  readonly connectMs?: number;
  /** For an answer to begin. Default 30000. */
  readonly answerMs?: number;
  /**
   * A call whose home is gone waits this long for it to come back or for its successor. Default: with automatic failover as long as
   * that takes, else 0.
   */
  readonly holdMs?: number;
};

export interface Frontend {
  readonly here: DataCenterName;
  readonly configuration: Configuration;
  /** For one request of a customer: his cookies go along with every call, and what backends set comes back. */
  backend(request: CustomerRequest): Backend;
  /** Lets go of kept connections. Safe to repeat. */
  close(): void;
}

/** For the successor to see its view through, beyond the lease that it has to wait out. */
const promotionMs = 2_000;
/** For a backend that was gone to answer anything at all. */
const probeMs = 2_000;

/** @throws {LanekeeperError} `LK_CONFIG` when the configuration is wrong or names no backend */
export async function createFrontend(options: FrontendOptions = {}): Promise<Frontend> {
  const env = options.env ?? process.env;
  const configuration =
    typeof options.config === 'object'
      ? options.config
      : (await loadConfiguration({ file: options.config, env })).configuration;
  const { here, failover, leases } = configuration;
  if (Object.values(configuration.dataCenters).every(({ backends }) => backends.length === 0)) {
    throw new LanekeeperError('LK_CONFIG', 'No data center has `backends`, so a frontend has nobody to call.');
  }
  const sender = new Sender({ connectMs: options.connectMs ?? 2_000, answerMs: options.answerMs ?? 30_000 });
  const usualHoldMs = failover.mode === 'automatic' ? leases.ttlMs + leases.skewMs + promotionMs : 0;
  const answers = async (origin: string): Promise<boolean> => {
    const headers = { host: new URL(origin).host };
    const probe = { method: 'HEAD', path: '/', headers, body: null, signal: AbortSignal.timeout(probeMs) };
    return sender.send(origin, probe).then(
      ({ kind }) => kind === 'answered',
      () => false,
    );
  };
  const instances = new Instances(configuration, answers);
  const shared: Shared = {
    configuration,
    ring: createKeyRing(configuration, { env }),
    instances,
    sender,
    holdMs: options.holdMs ?? usualHoldMs,
    home: null,
  };
  return {
    here,
    configuration,
    backend: (request) => createBackend(shared, request),
    close: () => {
      instances.close();
      sender.close();
    },
  };
}
