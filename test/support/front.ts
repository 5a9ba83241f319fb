/** An address in front of a server that can be given to another one, as a virtual address or a proxy does. */
import { type AddressInfo, createServer, connect as openSocket, type Socket } from 'node:net';

export type Address = { readonly host: string; readonly port: number };

export type Front = Address & {
  /** From now on it leads there; who is connected is cut off. */
  lead(to: Address): void;
  close(): Promise<void>;
};

export async function startFront(first: Address): Promise<Front> {
  let target = first;
  const open = new Set<Socket>();
  const cutOff = () => {
    for (const socket of open) socket.destroy();
  };
  const server = createServer((inward) => {
    const outward = openSocket(target.port, target.host);
    for (const [one, other] of [
      [inward, outward],
      [outward, inward],
    ] as const) {
      open.add(one);
      one.setNoDelay(true);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    lead(to) {
      target = { host: to.host, port: to.port };
      cutOff();
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      cutOff();
      await closed;
    },
  };
}
