/** Waits for the one line of JSON by which our processes say that they are ready: `{"ready":{"url":"http://…"}}`. */
import type { LeashedProcess } from './leash.ts';

/**
 * The URL of a process started with `stdout: 'pipe'`. Output after that line is read and dropped, so that the process
 * never waits for us. Rejects when the process ends first or takes longer than `timeoutMs`.
 */
export function readyUrl(leashed: LeashedProcess, timeoutMs: number): Promise<string> {
  const { stdout } = leashed.child;
  if (!stdout) throw new Error('readyUrl needs the output of a process started with stdout: pipe');
  return new Promise((resolve, reject) => {
    let text = '';
    const fail = (why: string): void => {
      clearTimeout(timer);
      leashed.signal('SIGKILL');
      reject(new Error(`${leashed.child.spawnargs.slice(4).join(' ')}: ${why}`));
    };
    const timer = setTimeout(() => fail(`not ready after ${timeoutMs} ms`), timeoutMs);
    stdout.setEncoding('utf8').on('data', (part: string) => {
      if (text === '\0') return;
      text += part;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      const url = lines.map(parseReady).find((found) => found !== null);
      if (!url) return;
      clearTimeout(timer);
      text = '\0';
      resolve(url);
    });
    void leashed.exited.then(({ code, signal }) => {
      if (text !== '\0') fail(`ended before it was ready (${signal ?? `code ${code}`})`);
    });
  });
}

export function parseReady(line: string): string | null {
  try {
    const url: unknown = (JSON.parse(line) as { ready?: { url?: unknown } }).ready?.url;
    return typeof url === 'string' ? url : null;
  } catch {
    return null;
  }
}
