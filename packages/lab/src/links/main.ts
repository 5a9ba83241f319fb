/**
 * The links' process. Takes its token from `LANEKEEPER_LINKS_TOKEN` and its first settings, as JSON, from
 * `LANEKEEPER_LINKS_DEFAULTS`; prints `{"ready":{"url":…}}` when the HTTP interface listens.
 */
import { createControl, parseChanges } from './control.ts';
import { Links } from './links.ts';

const token = process.env.LANEKEEPER_LINKS_TOKEN;
const defaults = parseChanges(JSON.parse(process.env.LANEKEEPER_LINKS_DEFAULTS ?? '{}'));
if (!token || !defaults) {
  console.error('LANEKEEPER_LINKS_TOKEN is missing or LANEKEEPER_LINKS_DEFAULTS is wrong');
  process.exit(2);
}
const links = new Links(defaults);
const control = createControl(links, token);
control.listen({ host: '127.0.0.1', port: Number(process.env.LANEKEEPER_LINKS_PORT ?? 0) }, () => {
  const address = control.address();
  if (typeof address === 'object' && address !== null) {
    console.log(JSON.stringify({ ready: { url: `http://127.0.0.1:${address.port}` } }));
  }
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
