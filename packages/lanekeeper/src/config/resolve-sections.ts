/** Fixed homes, merging, reads, the buffer, hooks and roll-outs. Part of `resolve.ts`. */
import type { Configuration } from './configuration.ts';
import { durationMs } from './duration.ts';
import type { Path, Problems } from './problem.ts';
import { checkDataCenterName } from './resolve-data-centers.ts';
import type { FilledConfiguration } from './schema.ts';

type Sections = Pick<Configuration, 'fixed' | 'merge' | 'reads' | 'buffer' | 'hooks' | 'rollout'>;

const dayMs = 86_400_000;

export function resolveSections(written: FilledConfiguration, problems: Problems): Sections {
  const { fixed, merge, reads } = written;
  for (const [name, dc] of Object.entries(fixed)) checkDataCenterName(dc, ['fixed', name], written, problems);
  for (const name of Object.keys(merge.weights))
    checkDataCenterName(name, ['merge', 'weights', name], written, problems);
  const keep = (key: 'keepTombstones' | 'keepConflicts') =>
    durationMs(merge[key], ['merge', key], problems, 1000, 3660 * dayMs);
  return {
    fixed: named(fixed),
    merge: {
      applications: named(merge.applications),
      keepTombstonesMs: keep('keepTombstones'),
      keepConflictsMs: keep('keepConflicts'),
    },
    reads: { bookmarkWaitMs: durationMs(reads.bookmarkWait, ['reads', 'bookmarkWait'], problems, 0, 10_000) },
    buffer: resolveBuffer(written, problems),
    hooks: {
      onTakeover: hook(written.hooks.onTakeover, ['hooks', 'onTakeover'], problems),
      onConflict: hook(written.hooks.onConflict, ['hooks', 'onConflict'], problems),
    },
    rollout: resolveRollout(written, problems),
  };
}

function resolveBuffer(written: FilledConfiguration, problems: Problems): Configuration['buffer'] {
  const { store, urls, user, replicas, retry } = written.buffer;
  const path: Path = ['buffer'];
  if (store === 'postgres') {
    for (const key of ['urls', 'user'] as const) {
      if (key === 'urls' ? urls.length > 0 : user !== undefined)
        problems.error([...path, key], `\`${key}\` is for nats`, `Remove it, or write \`store: nats\`.`, 'key');
    }
  } else if (urls.length === 0)
    problems.error([...path, 'urls'], 'Where is NATS?', 'Add `urls`: [nats://10.1.0.9:4222].', 'key');
  for (const [index, url] of urls.entries()) {
    const parsed = parse(url);
    if (
      parsed === null ||
      !/^(nats|tls|wss?):$/.test(parsed.protocol) ||
      parsed.username !== '' ||
      parsed.hostname === ''
    )
      problems.error(
        [...path, 'urls', index],
        'This is not the URL of a NATS server',
        'nats://host:4222 or tls://host:4222, without user and password.',
      );
  }
  return {
    store,
    urls: [...urls],
    user: user ?? null,
    replicas,
    retryMs: durationMs(retry, [...path, 'retry'], problems, 100, dayMs),
  };
}

function hook(url: string | undefined, path: Path, problems: Problems): string | null {
  if (url === undefined) return null;
  const parsed = parse(url);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    problems.error(path, 'This is not an http or https URL', 'An absolute URL: https://scaler.example/takeover.');
    return null;
  }
  if (parsed.username !== '' || parsed.password !== '') {
    problems.error(path, 'User and password do not belong in this URL', 'Requests are signed: LANEKEEPER_HOOK_SECRET.');
    return null;
  }
  return parsed.href;
}

function resolveRollout(written: FilledConfiguration, problems: Problems): Configuration['rollout'] {
  const { bake, order } = written.rollout;
  const names = Object.keys(written.dataCenters);
  for (const [index, name] of order.entries()) {
    checkDataCenterName(name, ['rollout', 'order', index], written, problems);
    if (order.indexOf(name) !== index)
      problems.error(['rollout', 'order', index], `\`${name}\` twice`, 'Name every data center once.');
  }
  const missing = names.filter((name) => !order.includes(name));
  if (order.length > 0 && missing.length > 0)
    problems.error(['rollout', 'order'], `\`${missing.join(', ')}\` is missing`, 'Name every data center once.');
  return {
    bakeMs: durationMs(bake, ['rollout', 'bake'], problems, 0, 30 * dayMs),
    order: order.length > 0 ? [...order] : names,
  };
}

function parse(url: string): URL | null {
  return URL.canParse(url) ? new URL(url) : null;
}

/** Names are looked up without inheriting anything. */
function named<Value>(entries: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.assign(Object.create(null), entries);
}
