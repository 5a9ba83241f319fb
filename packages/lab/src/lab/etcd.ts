/** The lab's witness as three members of an etcd: started again when they end, reached through the links. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type EtcdMember, etcdArguments } from '../clusters/etcd.ts';
import type { Supervisor } from '../processes/supervisor.ts';
import type { LabAddresses } from './addresses.ts';
import type { Address } from './configuration.ts';

/** A kept lab stays with its store: another one knows nothing of the leases and successions so far. */
export function checkStore(clusters: string, leases: 'postgres' | 'etcd'): void {
  const other = leases === 'etcd' ? 'postgres' : 'etcd';
  if (existsSync(join(clusters, 'witness', other)))
    throw new Error(`This lab keeps its leases in ${other}: start it with --leases ${other}`);
}

const readyTimeoutMs = 30_000;

/** Each accepts connections when this resolves; they find each other meanwhile. */
export async function startEtcd(supervisor: Supervisor, dir: string, addresses: LabAddresses): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const members = addresses.etcd.map(({ client, peer }, index): EtcdMember => {
    return { name: `etcd-${index + 1}`, clientUrl: urlOf(client), peerUrl: urlOf(peer) };
  });
  await Promise.all(
    members.map((member, index) =>
      supervisor.start({
        name: `witness-${member.name}`,
        command: 'etcd',
        args: etcdArguments(member, { dir, members, token: 'lanekeeper-lab' }),
        env: { PATH: process.env.PATH },
        address: (addresses.etcd[index] as LabAddresses['etcd'][number]).client,
        readyTimeoutMs,
      }),
    ),
  );
}

const urlOf = ({ host, port }: Address): string => `http://${host}:${port}`;
