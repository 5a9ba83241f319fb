import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { processStart } from '../processes/observe.ts';
import { findDescription, type LabDescription, readDescription } from './description.ts';
import { type LabFolder, openFolder } from './folder.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function opened(dir: string | undefined, keep = false): Promise<LabFolder> {
  const result = await openFolder({ directory, dir, keep });
  if (result.kind !== 'opened') throw new Error(result.kind);
  return result.folder;
}

async function descriptionOf({ dir }: LabFolder): Promise<LabDescription> {
  return {
    storefront: '',
    approach: 'full-active-active',
    dataCenters: {},
    witness: { database: '', endpoints: [] },
    payments: null,
    switchboard: { url: 'http://127.0.0.1:1', token: '' },
    links: { control: 'http://127.0.0.1:1', token: '' },
    dir,
    pid: process.pid,
    processStart: (await processStart(process.pid)) ?? '',
  };
}

test('without --dir it is a temporary folder, found from the working folder and below, and gone afterwards', async () => {
  const folder = await opened(undefined);
  folder.announce(await descriptionOf(folder));
  const below = join(directory, 'a', 'b');
  await mkdir(below, { recursive: true });
  const found = findDescription(below, undefined);
  expect(found).toBe(join(directory, '.lanekeeper', 'lab.json'));
  expect(readDescription(found ?? '')?.dir).toBe(folder.dir);
  await folder.release();
  expect(existsSync(folder.dir)).toBe(false);
  expect(findDescription(below, undefined)).toBeNull();
  expect(existsSync(join(directory, '.lanekeeper'))).toBe(false);
});

test('of two labs in one working folder the first is found, and the second takes nothing of it away', async () => {
  const [first, second] = [await opened(undefined), await opened(undefined)];
  first.announce(await descriptionOf(first));
  second.announce(await descriptionOf(second));
  await second.release();
  expect(readDescription(findDescription(directory, undefined) ?? '')?.dir).toBe(first.dir);
  await first.release();
});

test('a folder with something else in it is not touched', async () => {
  const dir = join(directory, 'precious');
  await mkdir(dir);
  await writeFile(join(dir, 'thesis.txt'), '…');
  expect(await openFolder({ directory, dir, keep: false })).toEqual({ kind: 'foreign', dir });
  expect(await readdir(dir)).toEqual(['thesis.txt']);
});

test('a kept folder stays, is found again, and is busy while a lab runs in it', async () => {
  const folder = await opened('kept', true);
  folder.announce(await descriptionOf(folder));
  expect(await openFolder({ directory, dir: 'kept', keep: true })).toEqual({ kind: 'busy', pid: process.pid });
  await folder.release();
  expect(existsSync(folder.dir)).toBe(true);
  const again = await opened('kept');
  expect(again.dir).toBe(folder.dir);
  await again.release();
  expect(existsSync(folder.dir)).toBe(false);
});
