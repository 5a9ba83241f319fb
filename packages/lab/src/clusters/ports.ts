/** Free ports. Between finding one and using it somebody else may take it, so whoever uses it must be ready to retry. */
import { createServer } from 'node:net';

/** A port that is free on `host` at this moment: `preferred` if that is one, else any. */
export async function freePort(host: string, preferred?: number): Promise<number> {
  if (preferred !== undefined && (await tryPort(host, preferred)) !== null) return preferred;
  const port = await tryPort(host, 0);
  if (port === null) throw new Error(`No free port on ${host}`);
  return port;
}

/** Whether this machine lets us listen on `host` at all: 127.0.1.1 works on Linux, not everywhere. */
export async function canListenOn(host: string): Promise<boolean> {
  return (await tryPort(host, 0)) !== null;
}

function tryPort(host: string, port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      const chosen = typeof address === 'object' && address !== null ? address.port : null;
      server.close(() => resolve(chosen));
    });
  });
}
