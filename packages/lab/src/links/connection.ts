/**
 * One connection through a link: a socket at each end and a line each way. Opening it takes a round trip, as it does
 * over a real wire: the target is dialled after one delay, and the client's first bytes leave after two.
 */
import { connect, type Socket } from 'node:net';
import type { Clock } from './clock.ts';
import type { Direction } from './direction.ts';
import { Line, type Parcel } from './line.ts';

export type Target = { readonly host: string; readonly port: number };

export class Connection {
  readonly #client: Socket;
  readonly #target: Target;
  readonly #onClosed: () => void;
  readonly #toServer: Line;
  readonly #toClient: Line;
  #server: Socket | null = null;
  #clientClosed = false;
  #serverClosed = false;

  /** `client` must be paused and half-open-able. */
  constructor(
    clock: Clock,
    client: Socket,
    target: Target,
    forward: Direction,
    backward: Direction,
    onClosed: () => void,
  ) {
    this.#client = client;
    this.#target = target;
    this.#onClosed = onClosed;
    this.#toServer = new Line(clock, forward, backward, {
      deliver: (parcel) => this.#atServer(parcel),
      pause: () => client.pause(),
      resume: () => client.resume(),
    });
    this.#toClient = new Line(clock, backward, forward, {
      deliver: (parcel) => this.#atClient(parcel),
      pause: () => this.#server?.pause(),
      resume: () => this.#server?.resume(),
    });
    client.setNoDelay(true);
    // Nothing is read before the handshake is over, although listening for data asks for it.
    client.pause();
    this.#wire(client, this.#toServer, this.#toClient, () => {
      this.#clientClosed = true;
      if (!this.#server) this.#serverClosed = true;
    });
    this.#toServer.send({ kind: 'open' });
  }

  /** Ends both sides at once with a reset. */
  reset(): void {
    this.#client.resetAndDestroy();
    this.#server?.resetAndDestroy();
    this.#serverClosed ||= this.#server === null;
  }

  #wire(socket: Socket, outgoing: Line, incoming: Line, closed: () => void): void {
    let ended = false;
    socket.on('data', (chunk: Buffer) => outgoing.send({ kind: 'bytes', chunk }));
    socket.on('end', () => {
      ended = true;
      outgoing.send({ kind: 'end' });
    });
    socket.on('drain', () => incoming.unblock());
    // What went wrong is told to the other side as a reset, below.
    socket.on('error', () => {});
    socket.on('close', (failed: boolean) => {
      if (failed || !ended) outgoing.send({ kind: 'reset' });
      closed();
      if (this.#clientClosed && this.#serverClosed) {
        this.#toServer.close();
        this.#toClient.close();
        this.#onClosed();
      }
    });
  }

  #atServer(parcel: Parcel): boolean {
    if (parcel.kind === 'open') {
      this.#dial();
      return true;
    }
    return hand(parcel, this.#server);
  }

  #atClient(parcel: Parcel): boolean {
    if (parcel.kind === 'opened') {
      this.#client.resume();
      return true;
    }
    return hand(parcel, this.#client);
  }

  #dial(): void {
    if (this.#clientClosed) return;
    const server = connect({ host: this.#target.host, port: this.#target.port, noDelay: true, allowHalfOpen: true });
    this.#server = server;
    server.once('connect', () => this.#toClient.send({ kind: 'opened' }));
    this.#wire(server, this.#toClient, this.#toServer, () => {
      this.#serverClosed = true;
    });
  }
}

function hand(parcel: Parcel, socket: Socket | null): boolean {
  if (!socket || socket.destroyed) return true;
  if (parcel.kind === 'bytes') return socket.write(parcel.chunk);
  if (parcel.kind === 'end') socket.end();
  if (parcel.kind === 'reset') socket.resetAndDestroy();
  return true;
}
