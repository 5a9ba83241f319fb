/** Waits for something to become true on real servers. */
import type { TestAgents } from './agents.ts';

const lookEveryMs = 50;
const lastEntries = 40;

/** Looks again and again until `look` does not throw; then what the agents said last goes with its error. */
export async function eventually<T>(
  agents: Pick<TestAgents, 'log'>,
  what: string,
  look: () => Promise<T>,
  withinMs = 20_000,
): Promise<T> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > endMs) {
        const log = agents.log.slice(-lastEntries).map((entry) => JSON.stringify(entry));
        throw new Error(`${what}: ${String(error)}\n${log.join('\n')}`);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}
