/**
 * The gallery: which picture hangs at which product. `geometry.ts` turns profiles, `pot.ts` and `props.ts` draw what is
 * made of them, `glazes.ts` holds the colours, and each remaining file composes the pictures of one category.
 */
import { espresso, mug, sake, tumbler, yunomi } from './drinking.ts';
import { branchVase, budVase, candlestick, moonJar, planter } from './flowers.ts';
import { kilns, mark } from './kilns.ts';
import { beanPot, butterDish, crock, juicer, saltPig } from './kitchen.ts';
import { creamer, jug, oilBottle, teapot } from './pouring.ts';
import { eggCup, mendedBowl, morningBowls, noodleBowl, pinchPots, platter, sidePlates, supperPlate } from './table.ts';

const drawings: Readonly<Record<string, () => string>> = {
  'no-3-mug': mug,
  'porch-tumblers': tumbler,
  'espresso-pair': espresso,
  'tall-tea-bowl': yunomi,
  'sake-set': sake,
  'supper-plate': supperPlate,
  'side-plates': sidePlates,
  'noodle-bowl': noodleBowl,
  'morning-bowls': morningBowls,
  'long-table-platter': platter,
  'pinch-pots': pinchPots,
  'egg-cups': eggCup,
  'quart-jug': jug,
  'half-pint-creamer': creamer,
  'two-cup-teapot': teapot,
  'oil-bottle': oilBottle,
  'butter-dome': butterDish,
  'citrus-juicer': juicer,
  'bean-pot': beanPot,
  'spoon-crock': crock,
  'salt-pig': saltPig,
  'bud-vase': budVase,
  'moon-jar': moonJar,
  'olive-branch-vase': branchVase,
  'chamber-candlestick': candlestick,
  'striped-planter': planter,
  kilns,
  mended: mendedBowl,
  mark,
};

export type Drawing = {
  readonly name: string;
  readonly svg: string;
  /** What is to be seen, for those who do not see it. */
  readonly title: string;
};

/** Draws everything once; some 30 ms. */
export function drawGallery(): readonly Drawing[] {
  return Object.entries(drawings).map(([name, draw]) => {
    const svg = draw();
    return { name, svg, title: /<title>([^<]*)<\/title>/.exec(svg)?.[1] ?? '' };
  });
}
