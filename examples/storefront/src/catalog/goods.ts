/** What Two Kilns sells. `seed.ts` puts it into the database of the feeder; the other data centers receive it from there. */

export const categories = [
  { slug: 'drinking', name: 'Drinking', line: 'Cups that know how hot coffee is.' },
  { slug: 'table', name: 'Table', line: 'Plates and bowls, stackable, a little different each.' },
  { slug: 'pouring', name: 'Pouring', line: 'Spouts are tested with water. None of these drip.' },
  { slug: 'kitchen', name: 'Kitchen', line: 'Things that live next to the stove.' },
  { slug: 'flowers', name: 'Flowers & light', line: 'For what you cut, and for the evening.' },
] as const;

export type CategorySlug = (typeof categories)[number]['slug'];

export type Good = {
  readonly sku: string;
  readonly name: string;
  readonly category: CategorySlug;
  /** US cents. */
  readonly price: number;
  readonly summary: string;
  readonly description: string;
  readonly size: string;
  readonly madeIn: 'Beacon' | 'Ojai';
  readonly stock: string;
};

export const goods: readonly Good[] = [
  {
    sku: 'no-3-mug',
    name: 'No. 3 Mug',
    category: 'drinking',
    price: 3400,
    summary: 'Speckled oatmeal, dipped in cobalt.',
    description:
      'The third mug we ever designed and the one that stayed. It holds eleven ounces, because ten is not enough and twelve goes cold. The handle takes three fingers; the fourth one rests underneath, where it should.',
    size: '11 oz, 3½ in tall',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'porch-tumblers',
    name: 'Porch Tumblers, pair',
    category: 'drinking',
    price: 5200,
    summary: 'Twelve cut facets, celadon and copper.',
    description:
      'Thrown thick, then cut by hand with a wire when the clay is as hard as cheese. The facets keep wet fingers from slipping. One of each glaze, so that nobody has to ask whose is whose.',
    size: '9 oz each, 4¼ in tall',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'espresso-pair',
    name: 'Espresso Cups, pair',
    category: 'drinking',
    price: 4800,
    summary: 'Two cups, two saucers, one argument settled.',
    description:
      'Iron red for the one who takes sugar, chalk for the one who says they do not. The walls are heavy, so that two ounces stay hot until the last one. Saucers are deep enough for a spoon and a biscuit.',
    size: '2½ oz, saucer 5 in',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'tall-tea-bowl',
    name: 'Tall Tea Bowl',
    category: 'drinking',
    price: 3600,
    summary: 'Tenmoku that breaks to rust at the lip.',
    description:
      'No handle: if it is too hot to hold, it is too hot to drink. The black comes from wood ash and local iron and turns to rust wherever it runs thin. No two rims agree.',
    size: '10 oz, 4 in tall',
    madeIn: 'Beacon',
    stock: 'Nine from the October firing',
  },
  {
    sku: 'sake-set',
    name: 'Sake Set',
    category: 'drinking',
    price: 8400,
    summary: 'A flask and two small cups.',
    description:
      'The neck is narrow so that the flask can stand in hot water up to its shoulders. Pour for the other person first; that is what the second cup is for.',
    size: 'Flask 10 oz, cups 1½ oz',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'supper-plate',
    name: 'Supper Plate',
    category: 'table',
    price: 4200,
    summary: 'One stroke of a wide brush.',
    description:
      'Dede loads a four-inch brush with cobalt and goes round once, without stopping and without looking up. When the phone rings, you get an interesting plate. Wide rim, flat well, fits the rack of a small dishwasher.',
    size: '10½ in across',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'side-plates',
    name: 'Side Plates, four',
    category: 'table',
    price: 9600,
    summary: 'Copper, chalk, blush and slate.',
    description:
      'For toast, cake, the bones of the fish. They nest without grinding, because we sand each foot ring for a full minute. Four colours, one stack.',
    size: '7 in across',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'noodle-bowl',
    name: 'Noodle Bowl',
    category: 'table',
    price: 4600,
    summary: 'Deep shino with two red bands.',
    description:
      'The foot is tall enough to lift a full bowl with both hands and not regret it. Red iron bands, brushed while the wheel turns. Takes a quart of broth and everything in it.',
    size: '34 oz, 7 in across',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'morning-bowls',
    name: 'Morning Bowls, three',
    category: 'table',
    price: 8700,
    summary: 'Butter, blush and slate.',
    description:
      'Cereal, soup, six eggs waiting to be beaten. Thrown from exactly one pound of clay each, which is how three bowls by two people come to stack.',
    size: '20 oz, 6 in across',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'long-table-platter',
    name: 'Long-Table Platter',
    category: 'table',
    price: 11800,
    summary: 'Celadon pooled in a combed rim.',
    description:
      'The comb was cut from an old credit card in 2009. Celadon runs into the lines and stays there, darker. Carries a whole fish, or every lemon on the tree.',
    size: '15 in across',
    madeIn: 'Ojai',
    stock: 'Four from the October firing',
  },
  {
    sku: 'pinch-pots',
    name: 'Pinch Pots, three',
    category: 'table',
    price: 3000,
    summary: 'For salt, for pepper, for the good saffron.',
    description:
      'Made the way everyone makes their first pot: a ball of clay, a thumb, patience. We are on our twenty-thousandth and still do it that way.',
    size: '2 oz each, 3 in across',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'egg-cups',
    name: 'Egg Cups, pair',
    category: 'table',
    price: 3200,
    summary: 'Chequered rim, steady foot.',
    description:
      'Heavy at the bottom, so that the spoon can be brisk. Fits a large egg; a jumbo sits a little proud. The eggs in the picture belong to Hollis’s hens and are not included.',
    size: '2¾ in tall',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'quart-jug',
    name: 'Quart Jug',
    category: 'pouring',
    price: 7200,
    summary: 'Cobalt, with a band of diamonds.',
    description:
      'A jug is a handle, a belly and a lip, and two of the three are easy. This lip is pulled with a wet finger in one go, then tested over the sink. Milk, water, tulips.',
    size: '32 oz, 8 in tall',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'half-pint-creamer',
    name: 'Half-Pint Creamer',
    category: 'pouring',
    price: 3800,
    summary: 'Shino over bare red clay.',
    description:
      'The lower third stays out of the bucket, so you feel the clay when you pick it up. Small enough for the door of the refrigerator, which is where it will live.',
    size: '8 oz, 4 in tall',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'two-cup-teapot',
    name: 'Two-Cup Teapot',
    category: 'pouring',
    price: 13600,
    summary: 'Iron red under a cane handle.',
    description:
      'Forty-one steps, which is why there are never many. Inside the spout are nineteen holes, pierced by hand, that keep the leaves where they belong. The cane handle is wrapped by Hollis’s neighbour and stays cool.',
    size: '18 oz, 6 in to the lid',
    madeIn: 'Beacon',
    stock: 'Made to order, three weeks',
  },
  {
    sku: 'oil-bottle',
    name: 'Oil Bottle',
    category: 'pouring',
    price: 5600,
    summary: 'Ash glaze, running where it wants to.',
    description:
      'The ash comes from pruned citrus wood, sifted and left in rainwater for a winter. Keeps oil in the dark, which is what oil likes. The cork is included; the next one is a dollar at the door.',
    size: '16 oz, 9 in tall',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'butter-dome',
    name: 'Butter Dome',
    category: 'kitchen',
    price: 6800,
    summary: 'A stick of butter under cobalt checks.',
    description:
      'Butter should be soft when the toast is ready. The checks are painted free-hand, row by row, by whoever lost at cards. The knob is sized for buttery fingers.',
    size: '7 in across, 4½ in tall',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'citrus-juicer',
    name: 'Citrus Juicer',
    category: 'kitchen',
    price: 4400,
    summary: 'Ridges that bite, a lip that pours.',
    description:
      'Glaze softens edges, so we wipe it off the ridges before the firing and they stay sharp. In Ojai this is not a novelty but a daily necessity from November to June.',
    size: '6½ in across',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'bean-pot',
    name: 'Bean Pot',
    category: 'kitchen',
    price: 15800,
    summary: 'Four hours at 300, and leave it alone.',
    description:
      'Flameproof stoneware with a lid that seals by its own weight. Glazed inside and out, bare at the foot. A recipe card comes with it; ignore the part about the ham hock if you like.',
    size: '3 qt, 9 in across',
    madeIn: 'Beacon',
    stock: 'Made to order, three weeks',
  },
  {
    sku: 'spoon-crock',
    name: 'Spoon Crock',
    category: 'kitchen',
    price: 6200,
    summary: 'Painted sprigs, room for eleven spoons.',
    description:
      'Wide enough for a whisk, heavy enough to stay when you pull the ladle. The sprig is a bay leaf, from the tree outside the glaze room. Spoons are not included, but you know where yours are.',
    size: '6½ in tall, 5½ in across',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'salt-pig',
    name: 'Salt Pig',
    category: 'kitchen',
    price: 4900,
    summary: 'Keeps salt dry and open for business.',
    description:
      'The mouth is tilted away from the pan, so steam passes by. Unglazed inside: the clay drinks what damp there is. With a small spoon of olive wood.',
    size: '5 in tall',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
  {
    sku: 'bud-vase',
    name: 'Bud Vase',
    category: 'flowers',
    price: 2900,
    summary: 'For the one you picked on the way home.',
    description:
      'One stem, held upright by a neck the width of a finger. The belly is full of water so that it cannot be knocked over by a sleeve.',
    size: '5 in tall',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'moon-jar',
    name: 'Moon Jar',
    category: 'flowers',
    price: 21000,
    summary: 'Two bowls, joined at the waist.',
    description:
      'Too large to throw in one piece, so it is two bowls, one on the other, with a seam that you can find if you look for it. After the Korean jars of the eighteenth century, which are better.',
    size: '13 in tall',
    madeIn: 'Ojai',
    stock: 'Made to order, five weeks',
  },
  {
    sku: 'olive-branch-vase',
    name: 'Olive Branch Vase',
    category: 'flowers',
    price: 9400,
    summary: 'A long neck in copper green.',
    description:
      'Copper goes green when the kiln breathes and red when it does not. This one breathed. Made for branches rather than bouquets: two are plenty.',
    size: '10 in tall',
    madeIn: 'Ojai',
    stock: 'Six from the October firing',
  },
  {
    sku: 'chamber-candlestick',
    name: 'Chamber Candlestick',
    category: 'flowers',
    price: 4200,
    summary: 'To carry up the stairs.',
    description:
      'A dish for the wax, a ring for the finger, a socket for a standard candle. Designed in the ice storm of 2014, when we needed seven.',
    size: '6 in across',
    madeIn: 'Beacon',
    stock: 'In stock, leaves Beacon in two days',
  },
  {
    sku: 'striped-planter',
    name: 'Striped Planter',
    category: 'flowers',
    price: 6600,
    summary: 'Copper stripes, its own saucer.',
    description:
      'There is a hole in the bottom and a saucer underneath; anything else is a vase. The stripes are masked with wet newspaper, usually the sports section.',
    size: '7 in across, 6½ in tall',
    madeIn: 'Ojai',
    stock: 'In stock, leaves Ojai in two days',
  },
];
