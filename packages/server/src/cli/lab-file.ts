/**
 * Finds a running lab, so that every command works on it without arguments: `lanekeeper status` in the folder where
 * `lanekeeper lab` was started, or anywhere with LANEKEEPER_LAB. What is in the file is the lab's business
 * (`packages/lab/src/lab/description.ts`); commands need the configuration and the environment of one data center.
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { findConfigurationFile } from 'lanekeeper/config';
import { type CliContext, CommandFailure, exitCodes } from './output.ts';

export type LabDataCenter = {
  /** Absolute path of its configuration file. */
  readonly config: string;
  /** What its processes have in their environment: LANEKEEPER_DC, passwords, the signing key's file. */
  readonly environment: Readonly<Record<string, string>>;
};

export type LabFile = {
  /** Of the lab's process. */
  readonly pid: number;
  readonly dir: string;
  readonly dataCenters: Readonly<Record<string, LabDataCenter>>;
};

/** Where a command finds its configuration and its secrets. */
export type CommandPlace = {
  readonly env: NodeJS.ProcessEnv;
  /** `--config` as it was given, or the lab's; undefined means the usual search. */
  readonly config: string | undefined;
};

/**
 * The lab that LANEKEEPER_LAB names (a folder or its lab.json), else `.lanekeeper/lab.json` here or in a folder above.
 * Null when there is none; throws when LANEKEEPER_LAB leads nowhere.
 */
export function findLabFile(context: Pick<CliContext, 'env' | 'directory'>): { file: string; lab: LabFile } | null {
  const named = context.env.LANEKEEPER_LAB;
  if (named) {
    const path = resolve(context.directory, named);
    const file = isFolder(path) ? join(path, 'lab.json') : path;
    const lab = read(file);
    if (lab) return { file, lab };
    throw new CommandFailure(`LANEKEEPER_LAB is ${named}, and there is no lab.`, {
      exitCode: exitCodes.usage,
      hint: 'It names the folder of a running lab, or the lab.json in it.',
    });
  }
  for (let folder = resolve(context.directory); ; folder = dirname(folder)) {
    const file = join(folder, '.lanekeeper', 'lab.json');
    const lab = read(file);
    if (lab) return { file, lab };
    if (dirname(folder) === folder) return null;
  }
}

/**
 * What a command works on. A configuration that somebody names (`--config`, LANEKEEPER_CONFIG) or that lies in the
 * working folder comes first; only without one is a lab looked for. `dc` is `--dc`, else LANEKEEPER_DC, else, in a lab,
 * its first data center.
 */
export function placeOfCommand(
  context: CliContext,
  options: { readonly config?: string | undefined; readonly dc?: string | undefined } = {},
): CommandPlace {
  const env = options.dc === undefined ? context.env : { ...context.env, LANEKEEPER_DC: options.dc };
  const usual: CommandPlace = { env, config: options.config };
  if (options.config !== undefined || env.LANEKEEPER_CONFIG) return usual;
  if (!env.LANEKEEPER_LAB && hasConfiguration(context)) return usual;
  const found = findLabFile(context);
  if (!found) return usual;
  const { dataCenters } = found.lab;
  const dc = env.LANEKEEPER_DC || Object.keys(dataCenters)[0];
  const place = dc !== undefined && Object.hasOwn(dataCenters, dc) ? dataCenters[dc] : undefined;
  if (!place) {
    throw new CommandFailure(`The lab in ${found.lab.dir} has no data center ${dc}.`, {
      exitCode: exitCodes.usage,
      hint: `It has ${Object.keys(dataCenters).join(' and ')}.`,
    });
  }
  return { env: { ...env, ...place.environment }, config: place.config };
}

function hasConfiguration(context: CliContext): boolean {
  try {
    findConfigurationFile({ env: context.env, directory: context.directory });
    return true;
  } catch {
    return false;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Null when there is no such file, or it is not a lab's. */
function read(file: string): LabFile | null {
  let value: Partial<LabFile>;
  try {
    value = JSON.parse(readFileSync(file, 'utf8')) as Partial<LabFile>;
  } catch {
    return null;
  }
  const { pid, dir, dataCenters } = value;
  if (typeof pid !== 'number' || typeof dir !== 'string' || typeof dataCenters !== 'object') return null;
  return { pid, dir, dataCenters };
}
