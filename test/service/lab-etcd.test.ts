/** `lanekeeper lab --leases etcd`: the witness as three processes, of which one may die. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingEtcd, runLeashed } from '@lanekeeper/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runSql } from '../support/clusters.ts';
import { lanekeeperProgram, type TestLab, testLab } from '../support/lab.ts';

describe.skipIf(missingEtcd() !== null)('a lab whose witness is an etcd (needs etcd)', { timeout: 120_000 }, () => {
  let lab: TestLab;
  beforeAll(async () => {
    lab = await testLab(['--leases', 'etcd']);
  }, 120_000);
  afterAll(() => lab?.stop());

  const write = (dc: string) =>
    runSql(
      lab.line.dataCenters[dc]?.databases.application ?? '',
      `INSERT INTO accounts (id) SELECT gen_random_uuid()::text RETURNING id`,
    ).then(
      () => 'written',
      (error: { code?: string }) => error.code,
    );

  test('goes on without one member, stops without two, and goes on again', async () => {
    expect(lab.line.witness).toEqual({
      database: null,
      endpoints: [0, 1, 2].map(() => expect.stringMatching(/^http:/)),
    });
    expect((await lab.command('status')).code).toBe(0);
    expect((await lab.command('lab', 'process', 'witness', 'etcd-1', 'kill')).code).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 8000));
    expect(await write('ny')).toBe('written');
    expect((await lab.command('lab', 'process', 'witness', 'etcd-2', 'kill')).code).toBe(0);
    await expect.poll(() => write('ny'), { timeout: 20_000, interval: 200 }).toBe('LK003');
    expect((await lab.command('lab', 'process', 'witness', 'etcd-2', 'start')).code).toBe(0);
    await expect.poll(() => write('ny'), { timeout: 30_000, interval: 200 }).toBe('written');
  });
});

test('a lab asked for etcd where none is installed says what to do', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'lanekeeper-test-'));
  try {
    const asked = runLeashed(process.execPath, [lanekeeperProgram, 'lab', '--leases', 'etcd'], {
      cwd: directory,
      env: { PATH: '/nowhere' },
      timeoutMs: 20_000,
    });
    await expect(asked).rejects.toThrow(/failed with code 2:\n.*etcd is not installed here: apt-get install/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
