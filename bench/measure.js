/** What every bench needs: medians, CPU seconds of other processes, the machine in one line, a table on the terminal. */
import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function percentile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** Kernel clock ticks a second; 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** User and system CPU seconds of a process and of its children that it has already waited for. */
export function cpuSeconds(pid) {
  const fields = statFields(pid);
  return fields ? (fields[11] + fields[12] + fields[13] + fields[14]) / ticksPerSecond : 0;
}

/** CPU seconds of a process and all its living descendants, e.g. a postmaster and its backends. */
export function treeCpuSeconds(pid) {
  const parents = new Map();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = statFields(Number(entry));
    if (fields) parents.set(Number(entry), fields[1]);
  }
  const within = (candidate) => {
    for (let at = candidate; at > 1; at = parents.get(at) ?? 0) if (at === pid) return true;
    return false;
  };
  return [...parents.keys()].filter(within).reduce((sum, one) => sum + cpuSeconds(one), 0);
}

/** Numeric fields of /proc/PID/stat from the state onwards (proc(5)): [state, ppid, …, utime at 11, stime at 12, cutime, cstime]. */
function statFields(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
  } catch {
    return null;
  }
}

export function machine() {
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, Linux ${release()}, Node ${process.version}`;
}

/** `rows`: array of objects with the same keys. */
export function printTable(title, rows) {
  console.log(`\n${title}`);
  console.table(rows);
}

/** Runs A and B in turn, `pairs` times, and gives both lists: what drifts on the machine drifts for both. */
export async function inPairs(pairs, a, b) {
  const results = { a: [], b: [] };
  for (let i = 0; i < pairs; i++) {
    results.a.push(await a(i));
    results.b.push(await b(i));
  }
  return results;
}

export function option(args, name, fallback) {
  const at = args.indexOf(`--${name}`);
  return at === -1 ? fallback : Number(args[at + 1]);
}

/** Several numbers, separated by commas. */
export function numbers(args, name, fallback) {
  const at = args.indexOf(`--${name}`);
  return at === -1
    ? fallback
    : String(args[at + 1])
        .split(',')
        .map(Number);
}

/** Lanekeeper's own schema, as `apply` would bring it in, one file after the other. */
export async function migrations() {
  const folder = new URL('../packages/server/sql/', import.meta.url);
  const files = (await readdir(folder)).filter((file) => /^\d{6}\.sql$/.test(file)).sort();
  return Promise.all(files.map((file) => readFile(new URL(file, folder), 'utf8')));
}
