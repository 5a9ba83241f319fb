import { describe, expect, test } from 'vitest';
import { coveredSample, stillNeeded, withSample } from './decide.ts';
import type { RelaySample } from './measure.ts';

/** `fra`'s two streams, and what `ny` itself sent. */
function sample(place: number, homed: number, rest: number, origins = ['pg_1', 'pg_2']): RelaySample {
  const at = (n: number) => `0/${n.toString(16).toUpperCase()}`;
  return {
    place: at(place),
    merged: '1:1:',
    applied: [
      { publisher: 'fra', stream: 'homed', origin: origins[0] as string, applied: at(homed) },
      { publisher: 'fra', stream: 'rest', origin: origins[1] as string, applied: at(rest) },
      { publisher: 'ny', stream: 'homed', origin: 'pg_3', applied: at(0xff) },
      { publisher: 'ny', stream: 'rest', origin: 'pg_4', applied: at(0xff) },
    ],
  };
}

const three = [sample(10, 1, 1), sample(20, 2, 1), sample(30, 3, 4)];
const fra = (homed: string, rest: string) => ({ fra: { homed, rest } });

describe('a relay slot is moved', () => {
  test('to the newest place at which its reader had all that was here', () => {
    expect(coveredSample(three, 'ny', fra('0/3', '0/4'))?.place).toBe('0/1E');
    expect(coveredSample(three, 'ny', fra('0/2', '0/9'))?.place).toBe('0/14');
    expect(coveredSample(three, 'ny', fra('0/9', '0/1'))?.place).toBe('0/14');
  });

  test('not at all when one stream is behind the oldest, or unknown', () => {
    expect(coveredSample(three, 'ny', fra('0/9', '0/0'))).toBeNull();
    expect(coveredSample(three, 'ny', fra('0/0', '0/9'))).toBeNull();
    expect(coveredSample(three, 'ny', { fra: { homed: '0/9' } })).toBeNull();
    expect(coveredSample(three, 'ny', {})).toBeNull();
    expect(coveredSample([], 'ny', fra('0/9', '0/9'))).toBeNull();
  });

  test('by positions, which are not compared as text', () => {
    expect(coveredSample([sample(10, 0x10, 1)], 'ny', fra('0/9', '0/1'))).toBeNull();
    expect(coveredSample([sample(10, 0x9, 1)], 'ny', fra('0/10', '0/1'))?.place).toBe('0/A');
  });

  test('without regard to the log of its own reader, and with regard to all others', () => {
    expect(coveredSample(three, 'fra', fra('0/9', '0/9'))).toBeNull();
    expect(coveredSample(three, 'fra', { ny: { homed: '0/FF', rest: '0/FF' } })?.place).toBe('0/1E');
  });
});

describe('samples', () => {
  test('are bounded: the newest stays, and the spaces between the others grow', () => {
    let samples: readonly RelaySample[] = [];
    for (let n = 1; n <= 1000; n += 1) {
      samples = withSample(samples, sample(n, n, n), 16);
      expect(samples.length).toBeLessThanOrEqual(16);
      expect(samples.at(-1)?.place).toBe(sample(n, n, n).place);
    }
    const places = samples.map(({ place }) => Number.parseInt(place.slice(2), 16));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(places[0]).toBeLessThan(400);
  });

  test('of a subscription that was made anew are not compared with those before', () => {
    const anew = sample(40, 1, 1, ['pg_9', 'pg_2']);
    expect(withSample(three, anew, 16)).toEqual([anew]);
  });

  test('are forgotten when every slot has passed them', () => {
    expect(stillNeeded(three, ['0/14', '0/1E']).map(({ place }) => place)).toEqual(['0/1E']);
    expect(stillNeeded(three, ['0/0', '0/1E'])).toEqual(three);
    expect(stillNeeded(three, [])).toEqual([]);
  });
});
