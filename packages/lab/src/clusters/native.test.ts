import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findNative, locateNative } from './native.ts';

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
  await chmod(dir, 0o755);
});

afterAll(() => rm(dir, { recursive: true, force: true }));

const own = (folder: string) => locateNative({ ...process.env, LANEKEEPER_LAB_POSTGRES: folder });

/** A folder whose programs say that they are this version. */
async function saying(version: string): Promise<string> {
  const home = join(dir, version);
  await mkdir(join(home, 'bin'), { recursive: true });
  for (const program of ['postgres', 'initdb']) {
    const file = join(home, 'bin', program);
    await writeFile(file, `#!/bin/sh\necho '${program} (PostgreSQL) ${version}'\n`);
    await chmod(file, 0o755);
  }
  return home;
}

test("somebody's own build is used where it is", async () => {
  const bundled = await findNative();
  const home = dirname(dirname(bundled.postgres));
  const native = await own(home);
  expect(native).toMatchObject({ postgres: bundled.postgres, initdb: bundled.initdb, major: bundled.major });
  expect(native.build).toContain(home);
  expect(native.build).toContain(`(PostgreSQL) ${bundled.major}.`);
});

test('builds of one folder are told apart by their versions', async () => {
  const [one, two] = [await own(await saying('16.14')), await own(await saying('17beta1'))];
  expect([one.major, two.major]).toEqual([16, 17]);
  expect(one.build).not.toBe(two.build);
});

test('a folder that is none, or of a version that is too old, is refused with what to do', async () => {
  await expect(own(join(dir, 'nowhere'))).rejects.toThrow(
    /LANEKEEPER_LAB_POSTGRES must be a folder with bin\/postgres and bin\/initdb.*nowhere\/bin\/postgres/,
  );
  await expect(own(await saying('15.9'))).rejects.toThrow(/PostgreSQL 16 or newer is needed: .*15\.9/);
});
