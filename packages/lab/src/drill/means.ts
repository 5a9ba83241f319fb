/** What this machine lets a drill do: packets in the kernel, other clocks, small disks. Nothing is left behind by asking. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import type { LabDescription } from '../lab/description.ts';
import type { Fault } from './faults/index.ts';

export type Means = {
  /** We run in a network namespace of our own, in which nftables and tc obey us. */
  readonly packets: boolean;
  /** libfaketime; null: not installed. */
  readonly clocks: string | null;
  /** A tmpfs can be mounted, where nobody else sees it. */
  readonly smallDisk: boolean;
  /** Why a fault cannot be drilled here, or in the lab that runs; null when it can. */
  lacking(fault: Fault, against: LabDescription | null): string | null;
};

const timeLibraries = [
  '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1',
  '/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1',
];

/** Set for the process that was started again inside namespaces of its own. */
export const insideVariable = 'LANEKEEPER_DRILL_NAMESPACE';

export async function meansHere(env: NodeJS.ProcessEnv): Promise<Means> {
  const inside = env[insideVariable] === '1';
  const packets = inside && (await succeeds('nft', ['list', 'tables']));
  const etcd = await succeeds('etcd', ['--version']);
  const clocks = timeLibraries.find((file) => existsSync(file)) ?? null;
  return {
    packets,
    clocks,
    smallDisk: inside,
    lacking({ needs = {}, usesUp }, against) {
      if (needs.third && against !== null && Object.keys(against.dataCenters).length < 3)
        return 'that lab has two data centers, and it needs three';
      if (against !== null && usesUp === true)
        return 'it leaves a lab that is of no use any more; not against one that runs';
      if (needs.packets && !packets) {
        return against !== null
          ? 'packets are only dropped in a network namespace of the drill’s own, not against a lab that runs'
          : 'packets cannot be dropped here: that needs root, nftables and network namespaces';
      }
      if (needs.etcd && against !== null && against.witness.endpoints.length === 0)
        return 'the lease store of that lab is no etcd';
      if (needs.etcd && !etcd) return 'etcd is not installed (Debian: etcd-server)';
      if (needs.clocks && against !== null)
        return 'clocks can only be set in a lab that was started for it; not against one that runs';
      if (needs.clocks && clocks === null) return 'libfaketime is not installed (Debian: libfaketime)';
      if (needs.standbys && against !== null) return 'the data centers of that lab do not say that they have standbys';
      if (needs.smallDisk && (!inside || against !== null))
        return 'a small disk is only mounted in a namespace of the drill’s own, as root';
      return null;
    },
  };
}

/** Whether it is worth starting again in namespaces of its own, for packets and for mounts. */
export async function canHaveNamespace(): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const table = 'add table inet lanekeeper_probe; delete table inet lanekeeper_probe';
  return succeeds('unshare', ['--net', '--mount', 'nft', table]);
}

function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return promisify(execFile)(command, [...args], { timeout: 5_000 }).then(
    () => true,
    () => false,
  );
}
