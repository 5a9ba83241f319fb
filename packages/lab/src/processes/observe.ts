/** Looking at processes, and waiting. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

/** Waits; an abort ends the wait early, without an error. */
export async function sleepMs(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : {}).catch(() => {});
}

type Row = { readonly pid: number; readonly parent: number; readonly group: number };

/** Without those that have ended and whose parent has not asked for their exit code yet. */
async function processTable(): Promise<readonly Row[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,pgid=,stat=']);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => !state?.startsWith('Z'))
    .map(([pid, parent, group]) => ({ pid: Number(pid), parent: Number(parent), group: Number(group) }));
}

/** Children of a process and theirs, as they are now. */
export async function descendantsOf(pid: number): Promise<readonly number[]> {
  const table = await processTable();
  const found: number[] = [];
  const queue = [pid];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const below = table.filter((row) => row.parent === next).map((row) => row.pid);
    found.push(...below);
    queue.push(...below);
  }
  return found;
}

/**
 * Ends what is left of a process group whose leader has ended: it was asked to end already, and gets `graceMs` to do
 * so. The group's number cannot belong to anybody else while it has members.
 */
export async function endGroup(group: number, graceMs: number): Promise<void> {
  const deadlineMs = performance.now() + graceMs;
  for (;;) {
    const members = (await processTable()).filter((row) => row.group === group);
    if (members.length === 0) return;
    const late = performance.now() >= deadlineMs;
    for (const { pid } of late ? members : []) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended between the two looks.
      }
    }
    await sleepMs(late ? 20 : 50);
  }
}

/**
 * When a process started, in the system's own terms, or null when there is none: tells a process from the next owner of
 * its pid.
 */
export async function processStart(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat !== null) {
    // The name in parentheses may hold anything; state is the first field after it, the start the twentieth (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  }
  // Without /proc, as on macOS: to the second.
  const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]).catch(() => ({
    stdout: '',
  }));
  return stdout.trim() || null;
}

export async function isSameProcess(pid: number, start: string): Promise<boolean> {
  return (await processStart(pid)) === start;
}

/** The command line of a process; empty when there is none. */
export async function commandOf(pid: number): Promise<string> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'args=', '-ww', '-p', String(pid)]).catch(() => ({
    stdout: '',
  }));
  return stdout.trim();
}
