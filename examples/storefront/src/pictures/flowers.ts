import type { Point } from './geometry.ts';
import { clay, glazes } from './glazes.ts';
import { Picture, plate, pot, strap } from './pot.ts';
import { blossom, branch, candle, leaf, stem } from './props.ts';

export function budVase(): string {
  const picture = new Picture('bud', 83).ground('rose', 324);
  picture.add(
    stem('M202 262C200 220 214 180 204 132', '#4f7a4a', 3.4),
    leaf(204, 226, 40, -38, '#6a9c5d', '#3f6b3c'),
    leaf(206, 196, 34, -146, '#6a9c5d', '#3f6b3c'),
    blossom(204, 122, 27, '#d8452f', '#f3cf63'),
  );
  pot(picture, {
    x: 200,
    profile: [
      [19, 252],
      [14, 268],
      [18, 288],
      [48, 316],
      [66, 352],
      [60, 386],
      [44, 402],
    ],
    glaze: glazes.slate,
    foot: 393,
    rings: [330, 346],
    shine: { from: 322, to: 372, angle: -50, wide: 9 },
  });
  return picture.svg('A small slate bud vase with one red flower', [12, 72, 376]);
}

export function moonJar(): string {
  const picture = new Picture('moon', 89).ground('plum', 330);
  pot(picture, {
    x: 198,
    profile: [
      [52, 138],
      [50, 150],
      [72, 164],
      [118, 206],
      [138, 268],
      [122, 336],
      [82, 384],
      [60, 396],
      [58, 404],
    ],
    glaze: { ...glazes.chalk, shade: '#8d7f95' },
    decoration: (turned) => [
      `<path fill="none" stroke="#b9b1a6" stroke-width="1.6" opacity=".6" d="${turned.ring(268)}"/>`,
      '<path fill="#b9c7c4" opacity=".35" d="M60 250c26 -20 60 8 92 -4s60 -20 96 2s50 10 90 -8v40c-40 20 -70 -4 -110 2s-100 18 -168 -8Z"/>',
    ],
    rings: [206, 330],
    shine: { from: 196, to: 300, angle: -46, wide: 13 },
  });
  return picture.svg('A large round moon jar in chalk white', [4, 72, 392]);
}

export function branchVase(): string {
  const picture = new Picture('branch', 97).ground('sun', 332);
  const twig: Point[] = [
    [196, 190],
    [204, 160],
    [226, 132],
    [250, 112],
    [278, 98],
  ];
  const other: Point[] = [
    [194, 190],
    [184, 158],
    [160, 132],
    [136, 116],
  ];
  branch(picture, other, '#5f8f57', '#3a6237', 40);
  branch(picture, twig, '#5f8f57', '#3a6237', 42);
  pot(picture, {
    x: 196,
    profile: [
      [30, 184],
      [21, 200],
      [20, 240],
      [30, 272],
      [66, 306],
      [82, 348],
      [72, 388],
      [54, 404],
    ],
    glaze: glazes.copper,
    dip: { colour: clay.beacon, at: 372, wave: 9, slant: -8 },
    rings: [318, 332],
    decoration: (turned) => [
      `<path fill="none" stroke="#8a5a3c" stroke-width="4" opacity=".8" d="${turned.ring(276)}"/>`,
    ],
    shine: { from: 308, to: 360, angle: -50, wide: 10 },
  });
  return picture.svg('A long-necked vase in copper green with an olive branch', [6, 56, 384]);
}

export function candlestick(): string {
  const picture = new Picture('candle', 101).ground('night', 322);
  const glaze = glazes.butter;
  strap(picture, 'M284 380C338 352 348 408 290 402', 14, glaze);
  plate(picture, { x: 200, y: 388, r: 106, glaze, tilt: 0.25, thick: 10, well: 0.82 });
  candle(picture, 200, 330, 148, 17, '#f6ecd6');
  pot(picture, {
    x: 200,
    profile: [
      [27, 322],
      [25, 344],
      [27, 366],
      [42, 388],
    ],
    glaze,
    closed: true,
    shadow: false,
    shine: { from: 332, to: 370, wide: 5 },
  });
  picture.add(
    `<path fill="none" stroke="${glaze.rim}" stroke-width="6" d="M174 322a26 5 0 0 0 52 0"/>`,
    '<path fill="#fff8e4" d="M186 186c4 20 0 34 3 44c3 8 7 2 6 -6c-1 -14 2 -24 1 -40Z"/>',
  );
  return picture.svg('A chamber candlestick in butter yellow with a lit candle', [4, 60, 392]);
}

export function planter(): string {
  const picture = new Picture('planter', 103).ground('brick', 324);
  const green = ['#5f9463', '#4a7d56', '#78aa6f'];
  const dark = '#2f5a3d';
  const fan: readonly [number, number][] = [
    [-152, 104],
    [-132, 138],
    [-112, 158],
    [-90, 166],
    [-68, 156],
    [-48, 140],
    [-28, 108],
    [-172, 70],
    [-8, 72],
  ];
  fan.forEach(([angle, long], i) => {
    picture.add(leaf(200, 270, long, angle, green[i % 3]!, dark, 0.2));
  });
  plate(picture, { x: 200, y: 398, r: 92, glaze: glazes.chalk, tilt: 0.24, thick: 10, well: 0.86 });
  pot(picture, {
    x: 200,
    profile: [
      [84, 262],
      [86, 278],
      [80, 284],
      [77, 320],
      [70, 370],
      [62, 400],
    ],
    glaze: glazes.chalk,
    shadow: false,
    liquid: { colour: '#3b2a22', depth: 5 },
    decoration: (turned) => {
      const shapes: string[] = [];
      for (let i = 0; i < 12; i++) {
        const angle = -90 + i * 15;
        if (i % 2 === 0) shapes.push(`<path fill="#2f7f74" d="${turned.patch(angle, angle + 15, 296, 384)}"/>`);
      }
      shapes.push(`<path fill="#2f7f74" d="${turned.patch(-90, 90, 384, 390)}"/>`);
      return shapes;
    },
    shine: { from: 300, to: 376, wide: 9 },
  });
  for (const [angle, long] of [
    [-128, 60],
    [-60, 66],
    [-96, 50],
  ] as const)
    picture.add(leaf(200 + (angle + 94) * 0.6, 272, long, angle, '#86b87a', dark, 0.24));
  return picture.svg('A striped planter on its saucer with a broad-leaved plant', [8, 68, 384]);
}
