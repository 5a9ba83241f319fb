/**
 * One customer of the storefront, doing one thing after the other, who behaves as people do: tries again when told to,
 * presses the button once more when no answer came, and is led to the other edge by DNS when the own one is gone.
 *
 * A buyer adds pieces to the cart (never twice when the outcome is unknown) and places orders, each with a note of its own
 * and a request id that is used again until an answer comes. A keeper sets lines of the cart, removes them, sets them again.
 */

import { sleepMs } from '../../processes/observe.ts';
import type { Attempt, Operation, Outcome, Wanted } from '../checker/index.ts';
import { Browser, outcomeOf, type Reached } from './browser.ts';
import type { Dns } from './dns.ts';

export type CustomerOptions = {
  readonly kind: 'buyer' | 'keeper';
  /** Now and then rests for a while, and signs in at the other edge. */
  readonly travels: boolean;
  readonly email: string;
  /** Where the customer registers, and so is at home at first. */
  readonly home: string;
  /** By data center: where its edge is. */
  readonly edges: Readonly<Record<string, string>>;
  readonly dns: Pick<Dns, 'names'>;
  readonly skus: readonly string[];
  /** Milliseconds since the drill began. */
  readonly clock: () => number;
  readonly random: () => number;
  /** Between two requests, on average. */
  readonly paceMs: number;
  /** A customer who has waited that long for an answer presses the button once more. */
  readonly patienceMs: number;
  /** How long one thing is tried. */
  readonly insistMs: number;
};

const password = 'correct horse battery staple';
/** Codes after which the same request may succeed. */
const retryable =
  /^LK_(WRONG_HOME|UNKNOWN_ACCOUNT|ARRIVING|MOVING|NO_LEASE|HOME_UNREACHABLE|AGENT_UNAVAILABLE|NO_APPLICATION|NO_ANSWER|LATE_ANSWER|OUTCOME_UNKNOWN|TOO_SLOW|LOOP|BAD_TOKEN|NO_PEER|ALONE|CLAIM_UNAVAILABLE)$|^E[A-Z]+$/;
/** After so many refusals in a row another address is tried. */
const refusalsBeforeTurning = 3;
/** Longer than the lab's stickiness: then the account counts as idle and moves along. */
const restMs = 2_500;

export class Customer {
  readonly operations: Operation[] = [];
  account = '';
  readonly #options: CustomerOptions;
  readonly #browser: Browser;
  #via: string;
  /** DNS goes on leading here: for drills of stale answers. */
  #pinned = false;
  #refusals = 0;
  #number = 0;
  #lastDoneMs = 0;

  constructor(options: CustomerOptions) {
    this.#options = options;
    this.#browser = new Browser(options.patienceMs);
    this.#via = options.home;
  }

  get home(): string {
    return this.#options.home;
  }

  get travels(): boolean {
    return this.#options.travels;
  }

  /** When something was last acknowledged; 0 when nothing was. */
  get lastDoneMs(): number {
    return this.#lastDoneMs;
  }

  get via(): string {
    return this.#via;
  }

  /** From now on DNS leads to this data center's edge; `stays`: whatever happens there. */
  lead(via: string, stays = false): void {
    if (this.#via !== via) this.#browser.reconnect();
    this.#via = via;
    this.#pinned = stays;
  }

  close(): void {
    this.#browser.close();
  }

  /** Throws when it does not succeed within half a minute. */
  async register(): Promise<void> {
    const { email, clock } = this.#options;
    const endMs = clock() + 30_000;
    let last: Reached | null = null;
    while (clock() < endMs) {
      last = await this.#send('POST', '/register', { email, password, name: 'A customer' });
      if (last.kind === 'answered' && last.answer.status < 400) {
        this.account = (last.answer.body as { account: { id: string } }).account.id;
        return;
      }
      await sleepMs(200);
    }
    throw new Error(`${email} could not register in ${this.#via}: ${JSON.stringify(last).slice(0, 400)}`);
  }

  /** Signs in wherever DNS leads: an account that nobody uses moves there, one in use is routed. */
  async signIn(): Promise<void> {
    await this.#send('POST', '/sign-in', { email: this.#options.email, password });
  }

  /** Goes on until `stopping` says so; what is under way then is brought to an end. */
  async shop(stopping: () => boolean): Promise<void> {
    const { kind, paceMs, random, travels } = this.#options;
    for (let round = 0; !stopping(); round += 1) {
      if (travels && round % 8 === 7) await this.#travel();
      if (kind === 'keeper') await this.#keep(round);
      else if (round % 3 === 2) await this.#order();
      else await this.#add();
      await sleepMs(paceMs * (0.5 + random()));
    }
  }

  async #travel(): Promise<void> {
    await sleepMs(restMs);
    this.#turn();
    await this.signIn();
  }

  /** To the next edge that DNS names, if there is one. */
  #turn(): void {
    const names = Object.keys(this.#options.edges);
    const at = names.indexOf(this.#via);
    const next = [...names.slice(at + 1), ...names.slice(0, at)].find((name) => this.#options.dns.names(name));
    if (!this.#pinned && next !== undefined) this.lead(next);
  }

  #sku(index: number): string {
    const { skus } = this.#options;
    return skus[index % skus.length] as string;
  }

  #add(): Promise<Outcome | null> {
    const sku = this.#sku(Math.floor(this.#options.random() * 1_000));
    return this.#do({ kind: 'add', amount: 1 }, 'POST', '/cart', { sku, quantity: 1 });
  }

  #order(): Promise<Outcome | null> {
    const value = `${this.account} ${this.#number}`;
    const requestId = `drill-${value.replaceAll(/[^A-Za-z0-9_-]/g, '-')}`;
    return this.#do({ kind: 'append', value, requestId }, 'POST', '/checkout', { requestId, note: value });
  }

  #keep(round: number): Promise<Outcome | null> {
    const key = this.#sku(round % 3);
    // Never twice the same in a row, so that an old write that wins is seen; every fourth removes.
    const amount = round % 4 === 3 ? 0 : (round % 97) + 1;
    return this.#do({ kind: 'set', key, amount }, 'PUT', `/cart/${key}`, { quantity: amount });
  }

  async #do(wanted: Wanted, method: string, path: string, body: unknown): Promise<Outcome | null> {
    const { clock, insistMs } = this.#options;
    const attempts: Attempt[] = [];
    this.operations.push({ number: this.#number, account: this.account, wanted, attempts });
    this.#number += 1;
    const endMs = clock() + insistMs;
    for (;;) {
      const startMs = clock();
      const via = this.#via;
      const outcome = outcomeOf(await this.#send(method, path, body));
      attempts.push({ startMs, endMs: clock(), via, outcome });
      if (outcome.kind === 'acknowledged') {
        this.#refusals = 0;
        this.#lastDoneMs = clock();
        return outcome;
      }
      const again =
        outcome.kind === 'unknown' ? wanted.kind !== 'add' : retryable.test(outcome.code) && clock() < endMs;
      this.#consider(outcome);
      if (outcome.kind === 'refused' && outcome.code === 'SHOP_SIGN_IN_FIRST') await this.signIn();
      if (!again || clock() > endMs) return outcome;
      await sleepMs(100 + this.#options.random() * 200);
    }
  }

  /**
   * Where no answer came, the name is looked up again, and where the answer is no again and again, another address of it is
   * tried; but only one that DNS still names.
   */
  #consider(outcome: Outcome): void {
    this.#refusals += 1;
    const silent = outcome.kind === 'unknown' || (outcome.kind === 'refused' && /^E[A-Z]+$/.test(outcome.code));
    if (this.#pinned || (!silent && this.#refusals < refusalsBeforeTurning)) return;
    this.#turn();
    this.#refusals = 0;
  }

  #send(method: string, path: string, body?: unknown): Promise<Reached> {
    return this.#browser.send(this.#options.edges[this.#via] as string, method, path, body);
  }
}
