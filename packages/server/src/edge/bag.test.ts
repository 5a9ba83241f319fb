import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bag } from './bag.ts';

test('holds what a set would hold', () => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.nat(9)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (script) => {
      const things = Array.from({ length: 10 }, (_, name) => ({ name, slot: -1 }));
      const bag = new Bag<(typeof things)[0]>();
      const set = new Set<(typeof things)[0]>();
      for (const [adds, index] of script) {
        const thing = things[index] as (typeof things)[0];
        if (!adds) bag.delete(thing);
        else if (!set.has(thing)) bag.add(thing);
        if (adds) set.add(thing);
        else set.delete(thing);
        expect(bag.size).toBe(set.size);
        expect(new Set(bag.items())).toEqual(set);
      }
    }),
    { seed: 5 },
  );
});
