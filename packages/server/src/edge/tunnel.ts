/** A connection that has changed its protocol (WebSocket): bytes both ways until either side is done. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { EdgeContext } from './context.ts';

export type TunnelEnds = {
  readonly protocol: string;
  readonly socket: Duplex;
  /** What the client sent right after his request. */
  readonly head: Buffer;
  readonly status: number;
  /** Of the answer that changes the protocol: names and values in turn, without those of the connection. */
  readonly headers: readonly string[];
  readonly upstream: Duplex;
  /** Called once, when both ends are closed. */
  readonly done: () => void;
};

/** After one side has said its last, the other gets this long. */
const halfClosedMs = 10_000;

export function openTunnel(edge: EdgeContext, ends: TunnelEnds): void {
  const { socket, upstream, headers } = ends;
  let head = `HTTP/1.1 ${ends.status} ${STATUS_CODES[ends.status] ?? ''}\r\nConnection: Upgrade\r\nUpgrade: ${ends.protocol}\r\n`;
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  socket.write(`${head}\r\n`, 'latin1');
  if (ends.head.length > 0) upstream.write(ends.head);

  const tunnel = {
    destroy(): void {
      socket.destroy();
      upstream.destroy();
    },
  };
  edge.tunnels.add(tunnel);
  edge.counters.tunnels += 1;
  let open = 2;
  for (const end of [socket, upstream]) {
    const other = end === socket ? upstream : socket;
    // A reset of either side: 'close' follows and says enough.
    end.on('error', () => {});
    end.on('end', () => setTimeout(tunnel.destroy, halfClosedMs).unref());
    end.on('close', () => {
      // Whoever said his last may still be read; whoever broke off has nothing to say.
      if (end.readableEnded) other.end();
      else other.destroy();
      open -= 1;
      if (open > 0) return;
      edge.tunnels.delete(tunnel);
      edge.counters.tunnels -= 1;
      ends.done();
    });
    (end as Partial<Socket>).setTimeout?.(edge.tunnelIdleMs, tunnel.destroy);
    (end as Partial<Socket>).setKeepAlive?.(true, 60_000);
    (end as Partial<Socket>).setNoDelay?.(true);
  }
  socket.pipe(upstream);
  upstream.pipe(socket);
}
