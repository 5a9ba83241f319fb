/**
 * The processes of each data center: an agent, an edge, and two instances of the application; where that is in two pieces, two
 * frontends, which know of no database, and two backends.
 */
import { sleepMs } from '../processes/observe.ts';
import type { ServiceSpec, Supervisor } from '../processes/supervisor.ts';
import type { LabAddresses } from './addresses.ts';
import { type LabApplication, lanekeeperProgram, type Program, type Split } from './application.ts';
import type { Address } from './configuration.ts';
import type { LabClusters } from './databases.ts';
import type { Environments } from './environments.ts';
import type { Payments } from './payments.ts';
import type { LabSecrets } from './secrets.ts';

const readyTimeoutMs = 60_000;

export async function startServices(lab: {
  readonly supervisor: Supervisor;
  readonly names: readonly string[];
  readonly addresses: LabAddresses;
  readonly secrets: LabSecrets;
  readonly environments: Environments;
  readonly clusters: LabClusters;
  readonly application: LabApplication;
  /** Null: the application is one piece. */
  readonly pieces: Split | null;
  readonly payments: Payments | null;
  /** True when everything is being stopped, so that waiting has no end any more. */
  readonly givenUp: () => boolean;
}): Promise<void> {
  const specs = lab.names.flatMap((name) => {
    const at = lab.addresses.dataCenters[name] as LabAddresses['dataCenters'][string];
    const env = { ...inherited(), ...lab.environments[name] };
    const url = lab.clusters.urls(name, lab.secrets).application;
    return [
      // All of a lab is given one configuration at once.
      command('agent', name, at.agent, env, ['--now']),
      command('edge', name, at.edge, env, ['--drain', '3s']),
      ...at.apps.map((address, index) =>
        lab.pieces === null
          ? instance(lab, lab.application, name, `${name}-app-${index + 1}`, address, { ...env, DATABASE_URL: url })
          : instance(lab, lab.pieces.frontend, name, `${name}-app-${index + 1}`, address, withoutSecrets(env)),
      ),
      ...(lab.pieces === null ? [] : at.backends).map((address, index) =>
        instance(lab, (lab.pieces as Split).backend, name, `${name}-backend-${index + 1}`, address, {
          ...env,
          DATABASE_URL: url,
        }),
      ),
    ];
  });
  if (lab.payments !== null) specs.push({ ...lab.payments.spec, env: { ...inherited(), ...lab.payments.spec.env } });
  const started = await Promise.allSettled(specs.map((spec) => lab.supervisor.start(spec)));
  for (const one of started) if (one.status === 'rejected') throw one.reason;
  await Promise.all(
    lab.names.flatMap((name) => {
      const at = lab.addresses.dataCenters[name] as LabAddresses['dataCenters'][string];
      return [
        healthy(`the agent of ${name}`, at.agent, '/health', lab.givenUp),
        healthy(`the edge of ${name}`, at.edge, '/lanekeeper/health', lab.givenUp),
      ];
    }),
  );
}

function command(
  kind: 'agent' | 'edge',
  name: string,
  { host, port }: Address,
  env: NodeJS.ProcessEnv,
  more: readonly string[] = [],
): ServiceSpec {
  return {
    name: `${name}-${kind}`,
    command: process.execPath,
    args: [lanekeeperProgram(), kind, '--listen', `${host}:${port}`, ...more],
    env,
    address: { host, port },
    readyTimeoutMs,
  };
}

function instance(
  lab: { readonly application: LabApplication; readonly secrets: LabSecrets; readonly payments: Payments | null },
  program: Program,
  dataCenter: string,
  name: string,
  address: Address,
  env: NodeJS.ProcessEnv,
): ServiceSpec {
  const { application } = lab;
  return {
    name,
    command: program.command,
    args: program.args,
    cwd: application.cwd,
    env: {
      ...(application.kind === 'own' ? withoutOurs(process.env) : {}),
      ...env,
      HOST: address.host,
      PORT: String(address.port),
      LANEKEEPER_INSTANCE: name,
      NODE_ENV: 'production',
      ...(application.kind === 'storefront' ? storefrontSettings(lab.secrets) : {}),
      ...(lab.payments === null ? {} : { STOREFRONT_PAYMENT_URL: lab.payments.urls[dataCenter] }),
    },
    address,
    readyTimeoutMs,
  };
}

/** A frontend has no database, and nothing to open one with. */
function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^LANEKEEPER_(.*_PASSWORD|SIGNING_KEY(_FILE)?)$/.test(name)),
  );
}

/** Passwords of demonstrations cost less: here two cores do the work of all data centers. */
function storefrontSettings({ deskPassphrase }: LabSecrets): NodeJS.ProcessEnv {
  return { STOREFRONT_DESK_PASSPHRASE: deskPassphrase, STOREFRONT_SCRYPT_COST: '12' };
}

/** What any program needs of our environment. */
function inherited(): NodeJS.ProcessEnv {
  const { PATH, HOME, LANG, TMPDIR, LANEKEEPER_TEST_RUN } = process.env;
  return Object.fromEntries(
    Object.entries({ PATH, HOME, LANG, TMPDIR, LANEKEEPER_TEST_RUN }).filter(([, value]) => value !== undefined),
  );
}

/** A user's application gets the user's environment, without what would lead it to another cluster. */
function withoutOurs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(LANEKEEPER_|PG[A-Z]|PORT$|HOST$|DATABASE_URL$)/.test(name)),
  );
}

/** Waits for an answer that is not 5xx. */
async function healthy(what: string, { host, port }: Address, path: string, givenUp: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + readyTimeoutMs;
  let last = 'no answer';
  while (performance.now() < deadlineMs && !givenUp()) {
    try {
      const response = await fetch(`http://${host}:${port}${path}`, {
        redirect: 'manual',
        signal: AbortSignal.timeout(5_000),
        headers: { accept: 'application/json' },
      });
      const text = await response.text();
      if (response.status < 500) return;
      last = `${response.status} ${text.slice(0, 500)}`;
    } catch (error) {
      last = (error as Error).message;
    }
    await sleepMs(100);
  }
  throw new Error(`${what} is not well after ${readyTimeoutMs} ms: ${last}`);
}
