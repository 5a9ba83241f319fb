/** What this machine lets a drill do: packets in the kernel, other clocks, small disks. Nothing is left behind by asking. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Fault } from './faults/index.ts';

export type Means = {
  /** We run in a network namespace of our own, in which nftables and tc obey us. */
  readonly packets: boolean;
  /** Null: not installed. */
  readonly faketimeLibrary: string | null;
  readonly tmpfs: boolean;
  /** Why a fault cannot be drilled here; null when it can. */
  lacking(fault: Fault, against: boolean): string | null;
};

/** Set for the process that was started again inside its own network namespace. */
export const insideVariable = 'LANEKEEPER_DRILL_NAMESPACE';

export async function meansHere(env: NodeJS.ProcessEnv): Promise<Means> {
  const packets = env[insideVariable] === '1' && (await succeeds('nft', ['list', 'tables']));
  const faketimeLibrary =
    [
      '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1',
      '/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1',
    ].find((file) => existsSync(file)) ?? null;
  const root = process.getuid?.() === 0 && process.platform === 'linux';
  const tmpfs = root && (await succeeds('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt']));
  return {
    packets,
    faketimeLibrary,
    tmpfs,
    lacking({ needs = {}, usesUp }, against) {
      if (against && usesUp === true) return 'it leaves a lab that is of no use any more; not against one that runs';
      if (needs.packets && !packets) {
        return against
          ? 'packets are only dropped in a network namespace of the drill’s own, not against a lab that runs'
          : 'packets cannot be dropped here: that needs root, nftables and network namespaces';
      }
      if (needs.faketime && faketimeLibrary === null) return 'libfaketime is not installed (Debian: libfaketime)';
      if (needs.tmpfs && !tmpfs) return 'a small disk cannot be mounted here: that needs root';
      return null;
    },
  };
}

/** Whether it is worth starting again in a network namespace. */
export async function canHaveNamespace(): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const table = 'add table inet lanekeeper_probe; delete table inet lanekeeper_probe';
  return succeeds('unshare', ['--net', 'nft', table]);
}

function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return promisify(execFile)(command, [...args], { timeout: 5_000 }).then(
    () => true,
    () => false,
  );
}
