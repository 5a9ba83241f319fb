import { afterEach, describe, expect, it, vi } from 'vitest';
import { main } from './main.ts';
import { mutants } from './mutants.ts';
import { run } from './run.ts';
import { scheduleOf } from './schedule.ts';
import { shrink } from './shrink.ts';

function printed(): string[] {
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  return lines;
}

afterEach(() => vi.restoreAllMocks());

describe('npm run sim', () => {
  it('runs as many schedules as it is asked for, and says how that went', () => {
    const lines = printed();
    expect(main(['--seeds', '2', '--from', '7'])).toBe(0);
    expect(lines.join('\n')).toMatch(/^2 schedules of \d+ events, \d+ a minute: 0 failed$/m);
  });

  it('replays some of one schedule and says what happened in it', () => {
    const lines = printed();
    expect(main(['--from', '7', '--data-centers', '2', '--faults', '0', '--asked', 'none', '--trace'])).toBe(0);
    expect(lines[0]).toMatch(/: 1 faults, 0 requests/);
    expect(lines.join('\n')).toContain('the lease is written');
    expect(lines.at(-1)).toMatch(/^holds; healed in/);
  });

  it('hunts mutants', () => {
    const lines = printed();
    expect(main(['--mutants', 'the same generation', '--seeds', '5'])).toBe(0);
    expect(lines).toContain('| the same generation | Rejoin, 4 | liveness | 1 |');
    expect(lines.at(-1)).toBe('every mutant was caught');
  });

  it('runs schedules of as many data centers as it is told to', () => {
    const lines = printed();
    expect(main(['--from', '7', '--data-centers', '3', '--faults', '0', '--asked', 'none'])).toBe(0);
    expect(lines[0]).toMatch(/^seed 7, 3 data centers/);
  });

  it('refuses a number that is none', () => {
    printed();
    expect(() => main(['--data-centers', '4'])).toThrow(RangeError);
    expect(() => main(['--seeds', 'many'])).toThrow(RangeError);
  });
});

describe('shrinking', () => {
  it('leaves out what a failure does not need', { timeout: 60_000 }, () => {
    const mutant = mutants.find(({ name }) => name === 'stranded by slot position, not by commit end') ?? null;
    const schedule = scheduleOf(4, 2);
    const invariant = run(schedule, { mutant }).violation?.invariant ?? '';
    expect(invariant).toBe('D1');
    const small = shrink(schedule, invariant, { mutant });
    expect(run(small, { mutant }).violation?.invariant).toBe(invariant);
    expect(small.faults.length).toBeLessThan(schedule.faults.length);
    expect(small.operations.length).toBeLessThan(schedule.operations.length);
  });
});
