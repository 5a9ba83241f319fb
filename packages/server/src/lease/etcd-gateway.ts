/**
 * Questions to etcd's JSON gateway (`/v3/…`, etcd 3.4 and newer; https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/).
 *
 * One member may be dead without saying so. So a question that is not answered soon goes to the next member as well, and
 * the first answer counts. Every question here is safe to ask twice: what it writes carries a mark (see `etcd.ts`).
 */
import { Agent, request } from 'undici';
import { NonsenseError } from './answer.ts';

export type GatewayOptions = {
  /** Base URLs of the members. */
  readonly endpoints: readonly string[];
  readonly login: { readonly user: string; readonly password: string } | null;
  /** PEM. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string };
};

/** A JSON object whose content is not known yet. */
export type Json = Readonly<Record<string, unknown>>;

/** etcd understood the question and says no. `code` as in gRPC. */
class Declined extends Error {
  override readonly name = 'Declined';
  readonly code: number;
  /** It does not know our token, or not any more. */
  readonly tokenIsOld: boolean;

  constructor(code: number, message: string, tokenIsOld: boolean) {
    super(message);
    this.code = code;
    this.tokenIsOld = tokenIsOld;
  }
}

/** No member can help: the configuration has to change. */
class Misconfigured extends Error {
  override readonly name = 'Misconfigured';
}

/** The next member is asked as well when one is silent for so long. */
const patienceMs = 300;
const mostBytes = 16 * 1024 * 1024;

const invalidArgument = 3;
const permissionDenied = 7;
const resourceExhausted = 8;
const failedPrecondition = 9;
const unimplemented = 12;
const unavailable = 14;
const unauthenticated = 16;

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #agent: Agent;
  /** Which member answered last. */
  #preferred = 0;
  #token: string | null = null;
  /** The identity of the etcd that answers; two of them would grant two leases. */
  #clusterId: string | null = null;
  #closed = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { ca, cert, key } = options.tls;
    const tls = { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert, key }) };
    this.#agent = new Agent({ connections: 8, connect: { timeout: 5_000, ...tls }, keepAliveTimeout: 60_000 });
  }

  /** Throws when no member answered until `deadlineMs`, by `performance.now()`, or when all refuse. */
  async ask(path: string, body: Json, deadlineMs: number): Promise<Json> {
    const { login } = this.#options;
    if (login === null) return this.#askAny(path, body, null, deadlineMs);
    this.#token ??= await this.#authenticate(login, deadlineMs);
    const token = this.#token;
    try {
      return await this.#askAny(path, body, token, deadlineMs);
    } catch (error) {
      if (!(error instanceof Declined) || !error.tokenIsOld) throw error;
      // Tokens end by themselves, with a restart of the member, and with every change of a user.
      if (this.#token === token) this.#token = null;
      this.#token ??= await this.#authenticate(login, deadlineMs);
      return this.#askAny(path, body, this.#token, deadlineMs);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#agent.destroy();
  }

  async #authenticate({ user, password }: { user: string; password: string }, deadlineMs: number): Promise<string> {
    const { token } = await this.#askAny('/v3/auth/authenticate', { name: user, password }, null, deadlineMs);
    if (typeof token !== 'string' || token === '') throw new NonsenseError('the token', typeof token);
    return token;
  }

  /** Starts with the member that answered last; goes on when one fails at once or is silent. */
  #askAny(path: string, body: Json, token: string | null, deadlineMs: number): Promise<Json> {
    const { endpoints } = this.#options;
    if (this.#closed) return Promise.reject(new Error('The lease store is closed'));
    const first = this.#preferred;
    const giveUp = new AbortController();
    const timers = new Set<NodeJS.Timeout>();
    return new Promise<Json>((resolve, reject) => {
      const failures: string[] = [];
      let asked = 0;
      const later = (afterMs: number, then: () => void) => {
        timers.add(setTimeout(then, Math.max(0, afterMs)));
      };
      const next = () => {
        if (asked >= endpoints.length || giveUp.signal.aborted) return;
        const index = (first + asked++) % endpoints.length;
        const endpoint = endpoints[index] as string;
        this.#askOne(endpoint, path, body, token, giveUp.signal).then(
          (answer) => {
            this.#preferred = index;
            resolve(answer);
          },
          (error: Error) => {
            if (isFinal(error)) return reject(error);
            failures.push(`${endpoint}: ${error.message}`);
            if (failures.length === endpoints.length)
              reject(new Error(`The lease store failed. ${failures.join('; ')}`));
            else next();
          },
        );
        if (asked < endpoints.length) later(patienceMs, next);
      };
      later(deadlineMs - performance.now(), () => {
        const silent = `The lease store did not answer in time (${endpoints.join(', ')})`;
        reject(new Error(failures.length === 0 ? silent : `${silent}. ${failures.join('; ')}`));
      });
      next();
    }).finally(() => {
      giveUp.abort();
      for (const timer of timers) clearTimeout(timer);
    });
  }

  async #askOne(endpoint: string, path: string, body: Json, token: string | null, signal: AbortSignal): Promise<Json> {
    const response = await request(`${endpoint}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token === null ? {} : { authorization: token }) },
      body: JSON.stringify(body),
      dispatcher: this.#agent,
      signal,
    });
    const answer = parse(endpoint, await readText(response.body), response.statusCode);
    if (response.statusCode !== 200) throw this.#declined(endpoint, response.statusCode, answer);
    this.#checkIdentity(endpoint, answer);
    return answer;
  }

  #declined(endpoint: string, status: number, answer: Json): Error {
    const error = declined(endpoint, status, answer);
    // etcd calls it a lack of rights when it was not even told who asks.
    return error instanceof Declined && error.code === permissionDenied ? notAllowed(this.#options, error) : error;
  }

  #checkIdentity(endpoint: string, { header }: Json): void {
    const id = typeof header === 'object' && header !== null ? (header as Json).cluster_id : undefined;
    if (typeof id !== 'string' || id === '') throw new NonsenseError(`the cluster id of ${endpoint}`, id);
    this.#clusterId ??= id;
    if (id === this.#clusterId) return;
    throw new Misconfigured(
      `${endpoint} belongs to another etcd cluster (${id}) than the one that answered before (${this.#clusterId}). ` +
        'leases.endpoints must name members of one cluster, the same one in every data center.',
    );
  }
}

async function readText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw new NonsenseError('the length of the answer', bytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(endpoint: string, text: string, status: number): Json {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch {
    // Said below.
  }
  if (status === 404) throw notEtcd(endpoint);
  if (text.startsWith('CommonName of client'))
    throw new Misconfigured(
      'etcd refuses certificates with a CommonName at its gateway while it authenticates users: leases.tls.cert must have none.',
    );
  throw new NonsenseError(`what ${endpoint} sent (HTTP ${status})`, text);
}

function notEtcd(endpoint: string): Misconfigured {
  return new Misconfigured(
    `${endpoint} has no /v3 API. leases.endpoints must be client URLs of etcd 3.4 or newer with its gRPC gateway enabled.`,
  );
}

/** https://github.com/etcd-io/etcd/blob/v3.4.23/etcdserver/api/v3rpc/rpctypes/error.go has codes and messages. */
function declined(endpoint: string, status: number, answer: Json): Error {
  const code = typeof answer.code === 'number' ? answer.code : -1;
  const said =
    typeof answer.error === 'string' ? answer.error : typeof answer.message === 'string' ? answer.message : '';
  if (code === unimplemented || (status === 404 && code === -1)) return notEtcd(endpoint);
  if (code === -1 || said === '') return new NonsenseError(`what ${endpoint} sent (HTTP ${status})`, answer);
  if (code === resourceExhausted && said.includes('space'))
    return new Misconfigured(
      `etcd is full (${said}). Compact and defragment it, then etcdctl alarm disarm; auto compaction keeps it from happening again.`,
    );
  if (code === failedPrecondition && said.includes('authentication is not enabled'))
    return new Misconfigured(
      'leases.user is set, but etcd asks nobody who he is. etcdctl auth enable, or remove leases.user.',
    );
  if (code === invalidArgument && said.includes('user name is empty')) return new Misconfigured(whoAsks);
  if (code === invalidArgument && said.includes('authentication failed'))
    return new Misconfigured('etcd refuses leases.user or its password (LANEKEEPER_WITNESS_PASSWORD).');
  // The one case that has no code of its own.
  const tokenIsOld = code === unauthenticated || said.includes('revision of auth store is old');
  return new Declined(code, said, tokenIsOld);
}

const whoAsks = 'etcd wants to know who asks. Set leases.user, and its password as LANEKEEPER_WITNESS_PASSWORD.';

function notAllowed({ login }: GatewayOptions, { message }: Declined): Misconfigured {
  if (login === null) return new Misconfigured(whoAsks);
  return new Misconfigured(
    `etcd lets ${login.user} do nothing here (${message}). Grant it readwrite on the prefix lanekeeper/ (etcdctl role grant-permission).`,
  );
}

/** Another member would say the same. */
function isFinal(error: Error): boolean {
  if (error instanceof Misconfigured) return true;
  return error instanceof Declined && error.code !== unavailable && error.code !== resourceExhausted && error.code > 0;
}
