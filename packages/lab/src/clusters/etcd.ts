/** How a member of an etcd is started, for the lab's witness and for tests. etcd itself comes from the system. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

export type EtcdMember = {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
};

export type EtcdOptions = {
  /** Where each member has a folder of its own. */
  readonly dir: string;
  readonly members: readonly EtcdMember[];
  /** Keeps members of different etcds apart. */
  readonly token: string;
  /** PEM files; members then want a certificate of `ca` from whoever connects. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
};

export function etcdArguments(member: EtcdMember, { dir, members, token, tls }: EtcdOptions): readonly string[] {
  const security =
    tls === undefined
      ? []
      : ['--client-cert-auth', '--trusted-ca-file', tls.ca, '--cert-file', tls.cert, '--key-file', tls.key];
  return [
    ...['--name', member.name, '--data-dir', join(dir, member.name)],
    ...['--listen-client-urls', member.clientUrl, '--advertise-client-urls', member.clientUrl],
    ...['--listen-peer-urls', member.peerUrl, '--initial-advertise-peer-urls', member.peerUrl],
    ...['--initial-cluster', members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',')],
    ...['--initial-cluster-state', 'new', '--initial-cluster-token', token],
    // Leases are renewed all the time, and nobody asks for old ones.
    ...['--auto-compaction-mode', 'periodic', '--auto-compaction-retention', '10m'],
    ...['--logger', 'zap', '--log-outputs', 'stderr'],
    ...security,
  ];
}

/** Why there is no etcd on this machine, with what to do; null when there is one. */
export function missingEtcd(): string | null {
  const found = spawnSync('etcd', ['--version'], { encoding: 'utf8', timeout: 10_000 });
  if (found.status === 0) return null;
  return 'etcd is not installed here: apt-get install etcd-server (Debian), or see https://etcd.io/docs/latest/install/.';
}
