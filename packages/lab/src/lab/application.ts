/**
 * What runs in the lab: the storefront, or the user's own application. Both are the same to the lab: a schema that is
 * brought in by the owner of the database, sections of a configuration, and a command that listens on PORT.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { maxDataCenters } from 'lanekeeper/config';
import { Client } from 'pg';
import { parseDocument } from 'yaml';
import { runLeashed } from '../processes/leash.ts';
import type { Sections } from './sections.ts';

export type Program = { readonly command: string; readonly args: readonly string[] };

/** An application in two pieces, for the routing of calls. */
export type Split = { readonly frontend: Program; readonly backend: Program };

export type LabApplication = Program & {
  readonly kind: 'storefront' | 'own';
  readonly cwd: string;
  /** Null: it is one piece only. */
  readonly split: Split | null;
  /** Brings tables and first rows into a new database. `env` has what the application itself would have. */
  prepare(owner: { readonly url: string; readonly env: NodeJS.ProcessEnv }): Promise<void>;
  /** Null: there are none, guess from the tables. */
  readonly sections: Sections | null;
  /** Those of its configuration, where there are enough for a lab; null: any will do. */
  readonly dataCenters: readonly string[] | null;
  /** A service outside of the data centers that its instances find under STOREFRONT_PAYMENT_URL. */
  readonly payments?: Program;
  /** Publishes what one data center writes for all, once rows travel; `env` is that data center's. */
  publish?(owner: { readonly url: string; readonly env: NodeJS.ProcessEnv }): Promise<void>;
};

export type ApplicationResult =
  | { readonly kind: 'found'; readonly application: LabApplication }
  | { readonly kind: 'wrong'; readonly message: string; readonly hint: string };

export type ApplicationOptions = {
  readonly directory: string;
  readonly app?: string | undefined;
  readonly backend?: string | undefined;
  readonly schema?: string | undefined;
  readonly config?: string | undefined;
};

export async function findApplication(options: ApplicationOptions): Promise<ApplicationResult> {
  if (options.app === undefined) {
    if (options.schema !== undefined || options.config !== undefined || options.backend !== undefined) {
      return wrong(
        '--schema, --config and --backend belong to an application of your own',
        'Add --app with the command that starts it.',
      );
    }
    return findStorefront();
  }
  const configFile = findConfig(options);
  if (configFile.kind === 'wrong') return configFile;
  let schema: string | null = null;
  if (options.schema !== undefined) {
    const file = resolve(options.directory, options.schema);
    if (!existsSync(file))
      return wrong(`There is no file ${options.schema}`, '--schema names SQL that makes your tables.');
    // pg_dump frames its output with these two since 2025; only psql knows them.
    schema = readFileSync(file, 'utf8').replace(/^\\(un)?restrict .*$/gm, '');
    if (/^(COPY\s.+\sFROM\s+stdin;|\\[a-z.])/im.test(schema)) {
      return wrong(
        `${options.schema} has commands that only psql understands`,
        'Make it with `pg_dump --schema-only --no-owner`, or with --inserts in place of COPY.',
      );
    }
  }
  const read = configFile.file === null ? null : await readSections(configFile.file);
  if (read?.kind === 'wrong') return read;
  return {
    kind: 'found',
    application: {
      kind: 'own',
      ...shell(options.app),
      cwd: options.directory,
      split: options.backend === undefined ? null : { frontend: shell(options.app), backend: shell(options.backend) },
      sections: read?.sections ?? null,
      dataCenters: read?.dataCenters ?? null,
      prepare: async ({ url }) => {
        if (schema !== null) await runScript(url, schema);
      },
    },
  };
}

function findStorefront(): ApplicationResult {
  const folder = fileURLToPath(new URL('../../../../examples/storefront/', import.meta.url));
  const main = join(folder, 'dist', 'main.js');
  if (!existsSync(main)) {
    return existsSync(folder)
      ? wrong('The storefront is not built', 'Run `npm run build` first.')
      : wrong(
          'The storefront is only in a checkout of Lanekeeper',
          'Run your own application: --app COMMAND --schema FILE.',
        );
  }
  const read = parseSections(join(folder, 'lanekeeper.yaml'));
  if (read.kind === 'wrong') return read;
  return {
    kind: 'found',
    application: {
      kind: 'storefront',
      ...node(main),
      cwd: folder,
      split: { frontend: node(join(folder, 'dist', 'front.js')), backend: node(join(folder, 'dist', 'back.js')) },
      sections: read.sections,
      dataCenters: null,
      payments: node(join(folder, 'dist', 'payment-service', 'main.js')),
      prepare: (owner) => runStep(folder, 'migrate.js', owner),
      publish: (owner) => runStep(folder, 'seed.js', owner),
    },
  };
}

const shell = (command: string): Program => ({ command: '/bin/sh', args: ['-c', command] });
const node = (file: string): Program => ({ command: process.execPath, args: [file] });

/** Throws where there is only one piece. */
export function splitOf(application: LabApplication): Split {
  if (application.split !== null) return application.split;
  throw new Error(
    'Under stateless-frontends an application is two programs: name the one with the database by --backend, and the one without by --app',
  );
}

async function runStep(
  folder: string,
  program: string,
  { url, env }: { readonly url: string; readonly env: NodeJS.ProcessEnv },
): Promise<void> {
  await runLeashed(process.execPath, [join(folder, 'dist', program)], {
    cwd: folder,
    env: { ...env, DATABASE_URL: url },
    timeoutMs: 60_000,
  });
}

type FileResult =
  | { readonly kind: 'file'; readonly file: string | null }
  | Extract<ApplicationResult, { kind: 'wrong' }>;

function findConfig(options: ApplicationOptions): FileResult {
  if (options.config !== undefined) {
    const file = resolve(options.directory, options.config);
    return existsSync(file)
      ? { kind: 'file', file }
      : wrong(`There is no file ${options.config}`, '--config names a lanekeeper.yaml.');
  }
  const usual = join(options.directory, 'lanekeeper.yaml');
  return { kind: 'file', file: existsSync(usual) ? usual : null };
}

type SectionsResult =
  | { readonly kind: 'read'; readonly sections: Sections; readonly dataCenters: readonly string[] | null }
  | Extract<ApplicationResult, { kind: 'wrong' }>;

/** What depends on where things run: the lab writes it itself. */
const placed = new Set(['cluster', 'dataCenters', 'leases', 'roles', 'enforce', 'rollout']);

async function readSections(file: string): Promise<SectionsResult> {
  if (!/\.[cm]?[jt]s$/.test(file)) return parseSections(file);
  try {
    const module = (await import(pathToFileURL(file).href)) as { default?: unknown };
    return pick(module.default, file);
  } catch (error) {
    return wrong(
      `${file} cannot be imported: ${(error as Error).message}`,
      'Node must be able to run it; give a .yaml otherwise.',
    );
  }
}

function parseSections(file: string): SectionsResult {
  const document = parseDocument(readFileSync(file, 'utf8'));
  const [mistake] = document.errors;
  if (mistake) return wrong(`${file}: ${mistake.message}`, `Run \`lanekeeper config check ${file}\`.`);
  return pick(document.toJS(), file);
}

function pick(value: unknown, file: string): SectionsResult {
  const written = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof written.tables !== 'object' || written.tables === null) {
    return wrong(`${file} has no \`tables\``, 'Leave it away, and the tables are guessed from their foreign keys.');
  }
  const sections = Object.fromEntries(Object.entries(written).filter(([name]) => !placed.has(name)));
  // The lab's hosts and keys are its own.
  if (typeof sections.sessions === 'object' && sections.sessions !== null) {
    const { keys: _keys, domain: _domain, ...rest } = sections.sessions as Record<string, unknown>;
    sections.sessions = rest;
  }
  const names = typeof written.dataCenters === 'object' ? Object.keys(written.dataCenters ?? {}) : [];
  return {
    kind: 'read',
    sections: sections as Sections,
    dataCenters: names.length >= 2 && names.length <= maxDataCenters ? names : null,
  };
}

function wrong(message: string, hint: string): Extract<ApplicationResult, { kind: 'wrong' }> {
  return { kind: 'wrong', message, hint };
}

async function runScript(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } catch (error) {
    const { message, position } = error as { message: string; position?: string };
    const line = position === undefined ? '' : ` (line ${sql.slice(0, Number(position)).split('\n').length})`;
    throw new Error(`The schema cannot be brought in${line}: ${message}`, { cause: error });
  } finally {
    await client.end();
  }
}

/** Folder of the `lanekeeper` program; it belongs to the server package, on which the lab depends. */
export function lanekeeperProgram(): string {
  const manifest = fileURLToPath(import.meta.resolve('@lanekeeper/server/package.json'));
  return join(dirname(manifest), 'bin', 'lanekeeper.js');
}
