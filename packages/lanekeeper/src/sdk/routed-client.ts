/**
 * A connection that follows its work from database to database (`routing: connection`): each transaction goes to the one in which the
 * work it is for is written at that moment. It is a connection of its own data center; for a transaction that belongs elsewhere it
 * borrows one that leads there.
 *
 * Invariants. 1: between a transaction's first statement and its end nothing changes its database. 2: statements reach it in the order
 * in which they were given. 3: one that was refused is tried again elsewhere once, and only when nothing was done before it: the
 * database had rolled back all of its transaction, and the caller has seen nothing of that. 4: a database that cannot be reached is
 * `LK_HOME_UNREACHABLE` soon, never a wait (R6).
 */
import { AsyncResource } from 'node:async_hooks';
import { once } from 'node:events';
import type pg from 'pg';
import { type DataCenterName, LanekeeperError } from '../model/index.ts';
import { type Binding, runBound } from './binding.ts';
import { durabilityOf, setDurability } from './durability.ts';
import type { Lanes } from './lanes.ts';
import { bindingOf, Client, rebind } from './pg.ts';
import { isAlone, isOpening, whereNow } from './second-try.ts';

// biome-ignore lint/suspicious/noExplicitAny: pg's overloads are passed through.
type Any = any;
type Callback = (error: unknown, result?: unknown) => unknown;
const rollback: Statement = { config: 'ROLLBACK', values: undefined, text: 'ROLLBACK' };
type Statement = { readonly config: Any; readonly values: Any; readonly text: string };

const readyMs = 1_000;
/** For a connection that leads elsewhere, while another one is held: so that two that wait for each other do not for ever. */
const borrowMs = 10_000;

export type RoutedClientOptions = {
  readonly lanes: Lanes;
  /** Where the connection itself leads. */
  readonly dataCenter: DataCenterName;
  /** A connection that leads there, for one transaction or some more. */
  readonly borrow: (dataCenter: DataCenterName) => Promise<pg.PoolClient>;
  /** Longest for a connection to be made; no bound when undefined. */
  readonly connectTimeoutMs?: number;
  /** Nobody says when it is not needed any more: what was borrowed goes back after each transaction. */
  readonly unowned?: boolean;
};

/** The class is what pg's and other libraries' pools want. */
export function routedClient(options: RoutedClientOptions): typeof pg.Client {
  const { connectTimeoutMs: mostMs } = options;
  return class extends RoutedClient {
    constructor(given?: string | pg.ClientConfig) {
      const config = typeof given === 'string' ? { connectionString: given } : given;
      const wantedMs = config?.connectionTimeoutMillis || Number.POSITIVE_INFINITY;
      super(
        mostMs === undefined ? config : { ...config, connectionTimeoutMillis: Math.min(mostMs, wantedMs) },
        options,
      );
    }
  } as unknown as typeof pg.Client;
}

/** Gives back what a routed connection has borrowed; for pools, when theirs comes back. */
export function settleBorrowed(client: pg.ClientBase): void {
  if (client instanceof RoutedClient) client.giveBack();
}

class RoutedClient extends (Client as unknown as new (config?: string | pg.ClientConfig) => pg.Client) {
  /** Read by `pg.ts`. */
  readonly leadsTo: DataCenterName;
  readonly #options: RoutedClientOptions;
  /** Borrowed by another one, which decides. */
  #lent = false;
  #borrowed: { readonly dataCenter: DataCenterName; readonly client: pg.PoolClient } | null = null;
  /** Statements wait for it, in their order: for a connection that leads elsewhere, or for a second try. */
  #turn: Promise<void> | null = null;
  /** Statements were sent that have not been answered to the end. */
  #busy = false;
  /** How many were given and have not been answered; cursors and streams do not say. */
  #given = 0;
  /** What the present transaction began with, while nothing was asked in it. */
  #opening: Statement[] = [];

  constructor(config: string | pg.ClientConfig | undefined, options: RoutedClientOptions) {
    super(config);
    this.#options = options;
    this.leadsTo = options.dataCenter;
    // A line that is cut must not end the process: whoever uses the connection is told by his statements.
    if (options.dataCenter !== options.lanes.here) this.on('error', () => {});
    this.on('drain', () => this.#drained());
    this.on('end', () => {
      this.#noteEnd();
      this.giveBack();
    });
  }

  /** Where its present transaction is, or the next one would be if nothing changes. */
  get dataCenter(): DataCenterName {
    return this.#borrowed?.dataCenter ?? this.#options.dataCenter;
  }

  override getTransactionStatus(): ReturnType<pg.Client['getTransactionStatus']> {
    return this.#borrowed === null ? super.getTransactionStatus() : this.#borrowed.client.getTransactionStatus();
  }

  override query(config: Any, values?: Any, callback?: Any): Any {
    if (this.#lent) return callback === undefined ? super.query(config, values) : super.query(config, values, callback);
    const binding = bindingOf(this);
    if (typeof config?.submit === 'function') return this.#submit(binding, config, values, callback);
    const given = [values, callback, config?.callback].find((each): each is Callback => typeof each === 'function');
    const text = typeof config === 'string' ? config : String(config?.text ?? '');
    const plain = config?.callback === undefined ? config : { ...config, callback: undefined };
    const statement = {
      config: plain,
      values: typeof values === 'function' ? config?.values : (values ?? config?.values),
      text,
    };
    const answer = this.#answer(statement, binding);
    if (given === undefined) return answer;
    const respond = AsyncResource.bind(given);
    // An error of the callback's own is nobody's rejection.
    answer.then(
      (result) => process.nextTick(respond, null, result),
      (error: unknown) => process.nextTick(respond, error),
    );
    return undefined;
  }

  /** Safe to repeat. */
  giveBack(): void {
    const borrowed = this.#borrowed;
    if (borrowed === null) return;
    this.#noteEnd();
    this.#borrowed = null;
    // In a transaction still: nobody else may continue it.
    borrowed.client.release(this.#busy || borrowed.client.getTransactionStatus() !== 'I');
    this.#busy = false;
    this.#opening = [];
  }

  #submit(binding: Binding | null, submittable: Any, ...callbacks: Any[]): Any {
    const send = () => {
      this.#begin();
      const given = [submittable, ...callbacks] as [Any];
      if (this.#borrowed === null) return void super.query(...given);
      rebind(this.#borrowed.client, binding);
      this.#borrowed.client.query(...given);
    };
    this.#take(binding);
    this.#opening = [];
    if (this.#turn === null) send();
    else this.#turn.then(send, (error: Error) => submittable.handleError(error, this.connection));
    return submittable;
  }

  async #answer(statement: Statement, binding: Binding | null): Promise<unknown> {
    const fresh = this.#isIdle;
    this.#take(binding);
    const turn = this.#turn;
    const first = fresh || (this.#opening.length > 0 && this.#given === 0);
    const opens = first && isOpening(statement.text, fresh);
    this.#given += 1;
    try {
      const result = await (turn === null
        ? this.#send(statement, binding)
        : turn.then(() => this.#send(statement, binding)));
      if (opens) this.#opening = fresh ? [statement] : [...this.#opening, statement];
      else this.#opening = [];
      return result;
    } catch (error) {
      const opening = fresh ? [] : this.#opening;
      this.#opening = [];
      const met = this.#translate(error, binding);
      // Were others given meanwhile, they count on this one.
      const nothingElse = first && !opens && this.#given === 1;
      if (!nothingElse || !(met instanceof LanekeeperError) || !isAlone(statement)) throw met;
      return await this.#secondTry(statement, opening, met, binding);
    } finally {
      this.#given -= 1;
    }
  }

  /** Where the next statement goes is decided while nothing is under way. */
  #take(binding: Binding | null): void {
    if (this.#turn !== null || !this.#isIdle) return;
    const lane = binding?.lane ?? this.#options.lanes.here;
    if (lane !== this.dataCenter) this.#wait(this.#moveTo(lane, binding));
  }

  get #isIdle(): boolean {
    const status = this.getTransactionStatus();
    return !this.#busy && this.#turn === null && (status === 'I' || status === null);
  }

  /** Whatever is given meanwhile comes after it, and fails with it. */
  #wait(turn: Promise<void>): void {
    this.#turn = turn;
    const over = () => {
      if (this.#turn === turn) this.#turn = null;
    };
    turn.then(over, over);
  }

  async #moveTo(lane: DataCenterName, binding: Binding | null): Promise<void> {
    const client = await this.#borrow(lane, binding);
    this.giveBack();
    this.#use(lane, client);
  }

  /** Null: its own. */
  async #borrow(lane: DataCenterName, binding: Binding | null): Promise<pg.PoolClient | null> {
    if (lane === this.#options.dataCenter) return null;
    const borrow = () => inTime(this.#options.borrow(lane));
    return binding === null ? borrow() : runBound(binding, borrow);
  }

  #use(lane: DataCenterName, client: pg.PoolClient | null): void {
    if (client === null) return;
    this.#borrowed = { dataCenter: lane, client };
    if (client instanceof RoutedClient) client.#lent = true;
    for (const [event, listener] of this.#listeners) client.on(event as 'drain', listener);
    const release = client.release;
    client.release = (error) => {
      for (const [event, listener] of this.#listeners) client.off(event as 'drain', listener);
      if (client instanceof RoutedClient) client.#lent = false;
      release(error);
    };
  }

  /** Of what is borrowed. */
  readonly #listeners: readonly (readonly [string, (given?: Any) => void])[] = [
    ['drain', () => this.emit('drain')],
    ['notice', (notice: unknown) => this.emit('notice', notice as never)],
    // Whoever has a statement under way is told by it.
    ['error', (error: Error) => void (this.listenerCount('error') > 0 && this.emit('error', error))],
    // It may have been in a transaction, which nothing else may continue; a pool's user gives it back.
    ['end', () => this.#options.unowned === true && void this.end().catch(() => {})],
  ];

  #drained(): void {
    this.#busy = false;
    this.#noteEnd();
    if (this.#options.unowned && this.#borrowed !== null && this.#isIdle) {
      const borrowed = this.#borrowed;
      setImmediate(() => {
        if (this.#borrowed === borrowed && this.#isIdle) this.giveBack();
      });
    }
  }

  #begin(): void {
    const { lanes } = this.#options;
    this.#busy = true;
    const at = this.#physical;
    // One that has ended says nothing more, not even that.
    if (this.dataCenter !== lanes.here && !isLost(at)) lanes.healthOf(this.dataCenter).began(at);
  }

  #noteEnd(): void {
    const { lanes } = this.#options;
    if (this.dataCenter !== lanes.here) lanes.healthOf(this.dataCenter).ended(this.#physical);
  }

  get #physical(): pg.ClientBase {
    return this.#borrowed?.client ?? this;
  }

  async #send({ config, values }: Statement, binding: Binding | null): Promise<unknown> {
    this.#begin();
    const at = this.#borrowed?.client ?? null;
    if (at === null) return super.query(config, values);
    rebind(at, binding);
    try {
      return await at.query(config, values);
    } finally {
      setDurability(this, durabilityOf(at));
    }
  }

  /** A connection that was lost with a home that does not answer, while nothing was being committed. */
  #translate(error: unknown, binding: Binding | null): unknown {
    const { lanes } = this.#options;
    if (this.dataCenter === lanes.here || error instanceof LanekeeperError) return error;
    if (!isLost(this.#physical)) return error;
    const unreachable = lanes.healthOf(this.dataCenter).unreachable(error);
    binding?.noticeRefusal(unreachable);
    return unreachable;
  }

  async #secondTry(
    statement: Statement,
    opening: readonly Statement[],
    refusal: LanekeeperError,
    binding: Binding | null,
  ): Promise<unknown> {
    if (this.#turn !== null) throw refusal;
    let done = () => {};
    this.#wait(
      new Promise<void>((resolve) => {
        done = resolve;
      }),
    );
    try {
      // The error comes before the word that the database is ready for more.
      if (this.#busy) await once(this, 'drain', { signal: AbortSignal.timeout(readyMs) });
      if (this.getTransactionStatus() !== (opening.length > 0 ? 'E' : 'I')) throw refusal;
      const home = await whereNow(this.#options.lanes, this.dataCenter, refusal, binding?.owner ?? null);
      if (home === null) throw refusal;
      // First of all: without a connection the transaction stays as it is, broken, and nothing is done outside of one.
      const next = home === this.dataCenter ? undefined : await this.#borrow(home, binding);
      if (opening.length > 0) await this.#send(rollback, binding);
      if (next !== undefined) {
        this.giveBack();
        this.#use(home, next);
      }
      for (const each of opening) await this.#send(each, binding);
      const result = await this.#send(statement, binding);
      binding?.wentTo(home, refusal);
      return result;
    } catch (error) {
      throw this.#translate(error, binding);
    } finally {
      done();
    }
  }
}

function isLost(client: pg.ClientBase): boolean {
  return (client as unknown as { connection: { stream: { destroyed: boolean } } }).connection.stream.destroyed;
}

async function inTime(borrowing: Promise<pg.PoolClient>): Promise<pg.PoolClient> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('timeout exceeded when trying to connect')), borrowMs);
  });
  try {
    return await Promise.race([borrowing, late]);
  } catch (error) {
    borrowing.then((client) => client.release()).catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
