/** Durations as a person writes them: a number and its unit, `500ms`, `6s`, `30m`, `12h`, `30d`. */
import type { Path, Problems } from './problem.ts';

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof unitMs;

/** Without a sign and with the unit always said: a bare `6` would be read as seconds by one person and milliseconds by another. */
export const durationPattern = /^(\d{1,9}(?:\.\d{1,3})?)\s?(ms|s|m|h|d)$/;

/** Milliseconds, or null when `text` is not a duration or not a whole number of milliseconds. */
export function parseDuration(text: string): number | null {
  const match = durationPattern.exec(text);
  if (match === null) return null;
  // Rounded first: 0.3 * 1000 is not 300 in binary fractions.
  const durationMs = Math.round(Number(match[1]) * unitMs[match[2] as Unit] * 1000) / 1000;
  return Number.isInteger(durationMs) ? durationMs : null;
}

/** The shortest exact way to write it, in the largest unit that divides it. */
export function formatDuration(durationMs: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (durationMs > 0 && durationMs % unitMs[unit] === 0) return `${durationMs / unitMs[unit]}${unit}`;
  }
  return `${durationMs}ms`;
}

/** Milliseconds of the duration written at `path`; says so when it is outside its bounds. */
export function durationMs(written: string, path: Path, problems: Problems, leastMs: number, mostMs: number): number {
  const parsed = parseDuration(written);
  if (parsed === null) {
    problems.error(
      path,
      'This is not a whole number of milliseconds',
      'A number and its unit: `500ms`, `6s`, `30m`, `12h` or `30d`.',
    );
    return leastMs;
  }
  if (parsed < leastMs) problems.error(path, `\`${written}\` is too short`, `At least ${formatDuration(leastMs)}.`);
  if (parsed > mostMs) problems.error(path, `\`${written}\` is too long`, `At most ${formatDuration(mostMs)}.`);
  return parsed;
}
