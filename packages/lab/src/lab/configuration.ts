/** Writes each data center's configuration file, as a person would have written it there. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkText, renderDiagnostics, type WrittenConfiguration } from 'lanekeeper/config';
import type { PublicJwk } from 'lanekeeper/session';
import { stringify } from 'yaml';
import { approachOf } from './approach.ts';
import { placeOf } from './places.ts';
import type { Sections } from './sections.ts';

export type Address = { readonly host: string; readonly port: number };

/** Where things of one data center are, as seen from `here`: directly, or through links. */
export type View = {
  readonly database: Address;
  readonly edge: Address;
  readonly agent: Address;
  /** Empty for other data centers: their edge is the way in. */
  readonly applications: readonly Address[];
  /** Frontends call those of every data center. Empty where the application is one piece. */
  readonly backends: readonly Address[];
  /** What customers type. */
  readonly url: string;
};

/** Set for drills that make a standby: each data center says that it has one, which is not there before it is made. */
const standbysVariable = 'LANEKEEPER_LAB_STANDBYS';

/** Of its slot and in its `application_name`. */
export function standbyOf(dataCenter: string): string {
  return `${dataCenter}_b`;
}

export type ConfigurationInput = {
  readonly here: string;
  readonly cluster: string;
  readonly databaseName: string;
  readonly views: Readonly<Record<string, View>>;
  readonly leases: WrittenConfiguration['leases'];
  readonly publicKeys: readonly PublicJwk[];
  readonly sections: Sections;
  /** Parent domain of the urls, or null. */
  readonly domain: string | null;
};

const origin = ({ host, port }: Address): string => `http://${host}:${port}`;

export function writtenConfiguration(input: ConfigurationInput): WrittenConfiguration {
  const dataCenters = Object.entries(input.views).map(([name, view], index) => [
    name,
    {
      number: index + 1,
      ...placeOf(name),
      database: `postgres://${view.database.host}:${view.database.port}/${input.databaseName}`,
      url: view.url,
      edge: origin(view.edge),
      agents: [origin(view.agent)],
      applications: view.applications.map(origin),
      ...(view.backends.length === 0 ? {} : { backends: view.backends.map(origin) }),
      ...(process.env[standbysVariable] === '1' ? { standbys: [{ name: standbyOf(name), sync: true }] } : {}),
    },
  ]);
  const { leases, sections } = input;
  return {
    cluster: input.cluster,
    ...sections,
    approach: approachOf(sections),
    dataCenters: Object.fromEntries(dataCenters),
    leases,
    sessions: {
      ...sections.sessions,
      ...(input.domain === null ? {} : { domain: input.domain }),
      keys: input.publicKeys.map((key) => ({ ...key })),
    },
  };
}

/** Throws with every mistake when the sections that came from the user do not fit. Returns the file. */
export async function writeConfiguration(folder: string, input: ConfigurationInput): Promise<string> {
  const written = writtenConfiguration(input);
  const others = Object.keys(input.views).filter((name) => name !== input.here);
  const text = `# The configuration of ${input.here}, written by \`lanekeeper lab\`. Addresses of ${[...others, 'the witness'].join(' and ')} lead through
# links, which delay and can be cut: \`lanekeeper lab link\`.
${stringify(written, { lineWidth: 0 })}`;
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const file = join(folder, 'lanekeeper.yaml');
  await writeFile(file, text);
  const result = checkText(text, { file, env: {}, directory: folder });
  if (result.kind === 'invalid') {
    throw new Error(`The configuration for ${input.here} has mistakes:\n${renderDiagnostics(result.diagnostics)}`);
  }
  return file;
}
