/**
 * The rooms and the arrows between them. An import that is not in this table is a mistake in the import or a decision: then it
 * goes into this table and, with its reason, into ARCHITECTURE.md.
 *
 * Arrows go down only. Siblings (`postgres`, `lease`, `buffer`, `edge`, `ownership`) do not know each other; `agent` is handed its
 * lease store, and `cli` and `lab` put things together.
 */

export type Room = {
  /** The folder, from the root of the repository. A file belongs to the room with the longest matching folder. */
  readonly folder: string;
  /** Rooms whose files these files may import, beside their own. */
  readonly rooms: readonly string[];
  /** Packages of others that they may import. */
  readonly packages: readonly string[];
  /** `node:` modules: all of them, or these. */
  readonly node: 'all' | readonly string[];
};

/** What `lanekeeper` gives to everybody who installs it. */
const product = ['model', 'config', 'session'];
const sdk = ['sdk', 'lanekeeper'];

export const rooms: Readonly<Record<string, Room>> = {
  model: { folder: 'packages/lanekeeper/src/model', rooms: [], packages: [], node: [] },
  config: { folder: 'packages/lanekeeper/src/config', rooms: ['model'], packages: ['yaml', 'zod'], node: 'all' },
  session: {
    folder: 'packages/lanekeeper/src/session',
    rooms: ['model', 'config'],
    packages: [],
    node: ['node:crypto', 'node:fs'],
  },
  sdk: {
    folder: 'packages/lanekeeper/src/sdk',
    rooms: ['model', 'config', 'session'],
    packages: ['pg', 'fastify', 'express'],
    node: 'all',
  },
  frontend: {
    folder: 'packages/lanekeeper/src/frontend',
    rooms: ['model', 'config', 'session'],
    packages: [],
    node: ['node:crypto', 'node:http', 'node:https', 'node:stream', 'node:timers/promises'],
  },
  lanekeeper: { folder: 'packages/lanekeeper/src', rooms: ['model', 'config', 'sdk'], packages: [], node: [] },

  ownership: { folder: 'packages/server/src/ownership', rooms: ['model'], packages: [], node: [] },
  postgres: { folder: 'packages/server/src/postgres', rooms: product, packages: ['pg'], node: 'all' },
  // Judges what `postgres` has read: its plain types, and its judgement of a schema, of which there is one.
  advise: { folder: 'packages/server/src/advise', rooms: ['model', 'config', 'postgres'], packages: [], node: [] },
  lease: { folder: 'packages/server/src/lease', rooms: product, packages: ['pg', 'undici'], node: 'all' },
  edge: {
    folder: 'packages/server/src/edge',
    rooms: product,
    packages: ['undici', 'pino', 'prom-client'],
    node: 'all',
  },
  buffer: {
    folder: 'packages/server/src/buffer',
    rooms: product,
    packages: ['pg', '@nats-io/jetstream', '@nats-io/transport-node'],
    node: 'all',
  },
  agent: {
    folder: 'packages/server/src/agent',
    rooms: [...product, 'ownership', 'postgres'],
    packages: ['pg', 'fastify', 'pino', 'prom-client', 'undici'],
    node: 'all',
  },
  cli: {
    folder: 'packages/server/src/cli',
    rooms: [...product, 'ownership', 'postgres', 'advise', 'lease', 'buffer', 'edge', 'agent'],
    packages: ['commander', 'libpg-query', 'listr2', 'picocolors', 'pino', 'pg', 'undici'],
    node: 'all',
  },

  'lab/processes': { folder: 'packages/lab/src/processes', rooms: [], packages: [], node: 'all' },
  'lab/links': { folder: 'packages/lab/src/links', rooms: ['lab/processes'], packages: [], node: 'all' },
  'lab/clusters': {
    folder: 'packages/lab/src/clusters',
    rooms: ['lab/processes', 'config'],
    packages: ['pg'],
    node: 'all',
  },
  'lab/lab': {
    folder: 'packages/lab/src/lab',
    rooms: [...product, 'postgres', 'advise', 'lab/processes', 'lab/links', 'lab/clusters'],
    packages: ['pg', 'yaml'],
    node: 'all',
  },
  // The checker of drills knows nothing of the product, so that it cannot believe it.
  'lab/drill/checker': { folder: 'packages/lab/src/drill/checker', rooms: [], packages: ['pg'], node: 'all' },
  'lab/drill/load': {
    folder: 'packages/lab/src/drill/load',
    rooms: ['lab/processes', 'lab/drill/checker'],
    packages: [],
    node: 'all',
  },
  'lab/drill/report': {
    folder: 'packages/lab/src/drill/report',
    rooms: ['lab/drill/checker'],
    packages: [],
    node: [],
  },
  'lab/drill/faults': {
    folder: 'packages/lab/src/drill/faults',
    rooms: ['lab/processes', 'lab/links', 'lab/clusters', 'lab/lab', 'lab/drill/checker', 'lab/drill/load'],
    packages: ['pg'],
    node: 'all',
  },
  'lab/drill': {
    folder: 'packages/lab/src/drill',
    rooms: [
      ...product,
      'lab/processes',
      'lab/links',
      'lab/lab',
      'lab/drill/checker',
      'lab/drill/load',
      'lab/drill/faults',
      'lab/drill/report',
    ],
    packages: ['pg'],
    node: 'all',
  },
  lab: {
    folder: 'packages/lab/src',
    rooms: [...product, 'lab/processes', 'lab/links', 'lab/clusters', 'lab/lab', 'lab/drill'],
    packages: ['commander', 'picocolors'],
    node: 'all',
  },

  storefront: {
    folder: 'examples/storefront/src',
    rooms: [...product, ...sdk, 'frontend'],
    packages: ['fastify', '@fastify/formbody', '@fontsource-variable/bricolage-grotesque', 'kysely', 'pg'],
    node: 'all',
  },
};

/** The room of a source file: that with the longest folder. */
export function roomOf(path: string): string | null {
  let found: string | null = null;
  for (const [name, room] of Object.entries(rooms)) {
    if (!path.startsWith(`${room.folder}/`)) continue;
    if (found === null || room.folder.length > (rooms[found] as Room).folder.length) found = name;
  }
  return found;
}

/** The longest a source file may be, in lines. */
export const lineCap = 400;

/**
 * Files that are longer, with the number of lines that they have. The number may fall and must not rise; a file that is
 * short again leaves the list. SQL files are history and do not count.
 */
export const longFiles: Readonly<Record<string, number>> = {};
