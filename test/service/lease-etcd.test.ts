import { missingEtcd } from '@lanekeeper/lab';
import { etcdLeaseStore } from '@lanekeeper/server/lease';
import { afterAll, beforeAll, describe } from 'vitest';
import { type TestEtcd, testEtcd } from '../support/etcd.ts';
import { leaseStoreConforms } from '../support/lease-conformance.ts';

const missing = missingEtcd();

describe.skipIf(missing !== null)('the lease store on one etcd (needs etcd)', () => {
  let etcd: TestEtcd;
  beforeAll(async () => {
    etcd = await testEtcd({ members: 1 });
  });
  afterAll(() => etcd?.stop());

  leaseStoreConforms((cluster) => etcdLeaseStore({ ...etcd.access, cluster, timeoutMs: 10_000 }));
});

describe.skipIf(missing !== null)(
  'the lease store on three etcds, with certificates and passwords (needs etcd)',
  () => {
    let etcd: TestEtcd;
    beforeAll(async () => {
      etcd = await testEtcd({ members: 3, secured: true });
    });
    afterAll(() => etcd?.stop());

    leaseStoreConforms((cluster) => etcdLeaseStore({ ...etcd.access, cluster, timeoutMs: 10_000 }));
  },
);
