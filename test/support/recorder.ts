/**
 * An application that reads HTTP by a parser of its own, strictly, and complains about whatever a proxy must not send.
 * Answers every request with 200 and its number, and keeps the connection.
 */
import net, { type AddressInfo } from 'node:net';

export type Recorded = {
  readonly line: string;
  /** Names as they came. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
};

export type Recorder = {
  readonly url: string;
  readonly seen: Recorded[];
  /** What a careful server would have refused. */
  readonly complaints: string[];
  stop(): Promise<void>;
};

const hopByHop = /^(keep-alive|proxy-connection|proxy-authorization|te|trailer|upgrade|expect|http2-settings)$/i;

export async function startRecorder(): Promise<Recorder> {
  const seen: Recorded[] = [];
  const complaints: string[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    let buffered = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      buffered += chunk;
      for (;;) {
        const message = takeMessage(buffered, complaints);
        if (message === null) return;
        if (message === 'unreadable') {
          complaints.push(`unreadable: ${JSON.stringify(buffered.slice(0, 200))}`);
          socket.destroy();
          return;
        }
        buffered = buffered.slice(message.bytes);
        seen.push(message.recorded);
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Number: ${seen.length}\r\n\r\nok`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    complaints,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

const forApplications: ReadonlySet<string> = new Set(['lanekeeper-via', 'lanekeeper-hops']);

function takeMessage(text: string, complaints: string[]): { recorded: Recorded; bytes: number } | 'unreadable' | null {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) return null;
  const [line = '', ...fields] = text.slice(0, end).split('\r\n');
  if (!/^[A-Z!#$%&'*+.^_`|~0-9-]+ [!-ÿ]+ HTTP\/1\.1$/.test(line)) return 'unreadable';
  const headers: [string, string][] = [];
  for (const field of fields) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(field);
    if (match === null || /[\r\n\0]/.test(field)) return 'unreadable';
    headers.push([match[1] as string, match[2] as string]);
  }
  const values = (name: string) => headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
  complain(line, headers, values, complaints);

  const lengths = values('content-length');
  const encodings = values('transfer-encoding');
  const start = end + 4;
  if (encodings.length > 0) {
    const body = unchunk(text.slice(start));
    if (body === null) return null;
    if (body === 'unreadable') return 'unreadable';
    return { recorded: { line, headers, body: body.text }, bytes: start + body.bytes };
  }
  const length = lengths.length === 0 ? 0 : Number(lengths[0]);
  if (text.length < start + length) return null;
  return { recorded: { line, headers, body: text.slice(start, start + length) }, bytes: start + length };
}

function complain(
  line: string,
  headers: readonly (readonly [string, string])[],
  values: (name: string) => string[],
  complaints: string[],
): void {
  const path = line.split(' ')[1] as string;
  const wrong = (what: string) => complaints.push(`${what}: ${line} ${JSON.stringify(headers)}`);
  if (values('host').length !== 1) wrong('not one Host');
  if (!/^\/(?![/\\])/.test(path) || path.includes('#')) wrong('not an origin-form');
  const framings = values('content-length').length + values('transfer-encoding').length;
  if (framings > 1) wrong('two framings');
  if (values('content-length').some((value) => !/^\d+$/.test(value))) wrong('a strange length');
  if (values('transfer-encoding').some((value) => value !== 'chunked')) wrong('a strange encoding');
  if (values('connection').some((value) => !/^(keep-alive|close|upgrade)$/.test(value))) wrong('Connection passed on');
  if (values('lanekeeper-via').length !== 1 || values('lanekeeper-hops').length > 1) wrong('not one of ours');
  if (values('cookie').length > 1) wrong('two Cookie lines');
  for (const [name] of headers) {
    const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-');
    if (hopByHop.test(plain)) wrong(`for one hop only: ${name}`);
    if (/^lanekeeper(-|$)/.test(plain) && !forApplications.has(name)) wrong(`ours: ${name}`);
    if (plain !== name.toLowerCase() && /^(content-length|transfer-encoding|host|connection)$/.test(plain)) {
      wrong(`a twin: ${name}`);
    }
  }
  if (values('x-forwarded-for').length !== 1) wrong('not one X-Forwarded-For');
}

function unchunk(text: string): { text: string; bytes: number } | 'unreadable' | null {
  let at = 0;
  let body = '';
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end === -1) return null;
    const size = text.slice(at, end);
    if (!/^[0-9a-f]{1,8}$/i.test(size)) return 'unreadable';
    const length = Number.parseInt(size, 16);
    at = end + 2;
    if (text.length < at + length + 2) return null;
    body += text.slice(at, at + length);
    if (text.slice(at + length, at + length + 2) !== '\r\n') return 'unreadable';
    at += length + 2;
    if (length === 0) return { text: body, bytes: at };
  }
}
