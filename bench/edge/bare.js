/**
 * What the edge is built on and nothing else: node:http, undici's `dispatch`, a cookie compared, headers copied. Nothing is
 * refused, verified, retried or kept. The edge cannot cost less than this: `node bare.js PORT LOCAL PEER`.
 */
import http from 'node:http';
import { createRequire } from 'node:module';

const { Pool } = createRequire(new URL('../../packages/server/package.json', import.meta.url))('undici');
const [port, local, peer] = process.argv.slice(2).map(Number);
const poolOf = (target) => new Pool(`http://127.0.0.1:${target}`, { connections: 256, pipelining: 1 });
const pools = { local: poolOf(local), peer: poolOf(peer) };

class Handler {
  constructor(response) {
    this.response = response;
  }
  onConnect() {}
  onHeaders(status, raw) {
    if (status < 200) return true;
    const headers = [];
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i].toString('latin1');
      if (name !== 'Connection' && name !== 'Transfer-Encoding') headers.push(name, raw[i + 1].toString('latin1'));
    }
    this.response.writeHead(status, headers);
    return true;
  }
  onData(chunk) {
    return this.response.write(chunk);
  }
  onComplete() {
    this.response.end();
  }
  onError() {
    this.response.destroy();
  }
}

http
  .createServer((request, response) => {
    const { method, url: path, rawHeaders } = request;
    const headers = [];
    let cookie = '';
    for (let i = 0; i < rawHeaders.length; i += 2) {
      if (rawHeaders[i] === 'Connection') continue;
      if (rawHeaders[i].toLowerCase() === 'cookie') cookie = rawHeaders[i + 1];
      headers.push(rawHeaders[i], rawHeaders[i + 1]);
    }
    const pool = /(?:^|; )home=la(?:;|$)/.test(cookie) ? pools.peer : pools.local;
    pool.dispatch({ method, path, headers, body: null }, new Handler(response));
  })
  .listen(port, '127.0.0.1');
