/** http-proxy-3 as its users run it, with connections kept alive: `node node-proxy.js PORT LOCAL PEER`. */
import http from 'node:http';
import { createProxyServer } from 'http-proxy-3';

const [port, local, peer] = process.argv.slice(2).map(Number);
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const proxy = createProxyServer({ agent, xfwd: true });
proxy.on('error', (_error, _request, response) => response.destroy());
const targets = { local: `http://127.0.0.1:${local}`, peer: `http://127.0.0.1:${peer}` };
http
  .createServer((request, response) => {
    const { cookie = '' } = request.headers;
    proxy.web(request, response, { target: /(?:^|; )home=la(?:;|$)/.test(cookie) ? targets.peer : targets.local });
  })
  .listen(port, '127.0.0.1');
