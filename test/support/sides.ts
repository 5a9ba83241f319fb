/** The data centers that the tests of the storefront have: two, or three. Read here and nowhere else. */
export type Side = 'ny' | 'la' | 'fra';

const known = { 'ny,la': ['ny', 'la'], 'ny,la,fra': ['ny', 'la', 'fra'] } as const satisfies Record<
  string,
  readonly Side[]
>;

/** `LANEKEEPER_TEST_DATA_CENTERS=ny,la,fra npx vitest run test/service/storefront/shop.test.ts` */
export const sides: readonly Side[] = sidesNamed(process.env.LANEKEEPER_TEST_DATA_CENTERS || 'ny,la');

/** The other one than `ny` that customers go to. With three, `la` has to hold what these two do. */
export const far = sides.at(-1) as Side;

function sidesNamed(names: string): readonly Side[] {
  if (!Object.hasOwn(known, names)) {
    throw new Error(`LANEKEEPER_TEST_DATA_CENTERS is \`${names}\`: ${Object.keys(known).join(' or ')} is expected.`);
  }
  return known[names as keyof typeof known];
}
