/** The sign over the door: the two kilns after a firing, doors open, still warm. And the small mark made from it. */
import { type Profile, round } from './geometry.ts';
import { type Glaze, glazes } from './glazes.ts';
import { Picture, pot, strap } from './pot.ts';

const wide = 960;
const high = 640;
const floor = 566;

function arch(x: number, half: number, spring: number, base: number): string {
  return `M${round(x - half)} ${base}V${spring}A${round(half)} ${round(half)} 0 0 1 ${round(x + half)} ${spring}V${base}Z`;
}

function kiln(picture: Picture, x: number): void {
  const half = 186;
  const spring = 262;
  // The ring of bricks, drawn as wedges from the centre of the arch.
  picture.add(`<path fill="#7a3323" d="${arch(x, half + 34, spring, floor)}"/>`);
  let bricks = '';
  for (let i = 0; i < 19; i++) {
    const a = Math.PI + (i * Math.PI) / 19 + 0.012;
    const b = Math.PI + ((i + 1) * Math.PI) / 19 - 0.012;
    const to = (angle: number, r: number): string =>
      `${round(x + Math.cos(angle) * r)} ${round(spring + Math.sin(angle) * r)}`;
    bricks += `M${to(a, half + 3)}L${to(a, half + 32)}L${to(b, half + 32)}L${to(b, half + 3)}Z`;
  }
  for (let y = spring + 4; y < floor; y += 32) {
    const tall = Math.min(28, floor - y);
    bricks += `M${x - half - 32} ${round(y)}h29v${round(tall)}h-29ZM${x + half + 3} ${round(y)}h29v${round(tall)}h-29Z`;
  }
  picture.add(`<path fill="#b9553a" d="${bricks}"/>`);
  const rings: readonly [number, string][] = [
    [0, '#2a1418'],
    [16, '#57201b'],
    [40, '#93321f'],
    [70, '#cf5a28'],
    [104, '#ee8f33'],
    [140, '#f8c45c'],
  ];
  picture.within(
    arch(x, half, spring, floor),
    rings.map(
      ([inset, colour]) => `<path fill="${colour}" d="${arch(x, half - inset, spring + inset * 0.55, floor)}"/>`,
    ),
  );
}

function board(picture: Picture, x: number, y: number): void {
  picture.add(
    `<path fill="#5a2a20" d="M${x - 184} ${y}h368v13h-368Z"/><path fill="#8c4a34" d="M${x - 184} ${y - 7}h368v9h-368Z"/>`,
  );
}

const at = (profile: Profile, base: number): Profile => profile.map(([r, y]) => [r, base + y]);

function ware(picture: Picture, x: number, base: number, profile: Profile, glaze: Glaze, more: object = {}): void {
  pot(picture, { x, profile: at(profile, base), glaze, shadow: false, foot: base - 5, perSegment: 3, ...more });
}

const bottle: Profile = [
  [15, -120],
  [11, -112],
  [11, -86],
  [26, -74],
  [42, -46],
  [40, -14],
  [30, 0],
];
const bowl: Profile = [
  [62, -50],
  [59, -34],
  [44, -12],
  [28, -4],
  [26, 0],
];
const cup: Profile = [
  [30, -58],
  [30, -34],
  [28, -10],
  [22, 0],
];
const round3: Profile = [
  [22, -104],
  [20, -98],
  [46, -80],
  [56, -48],
  [46, -14],
  [28, 0],
];
const crock: Profile = [
  [38, -92],
  [37, -86],
  [42, -50],
  [40, -12],
  [33, 0],
];
const jar: Profile = [
  [5, -112],
  [12, -106],
  [11, -98],
  [6, -94],
  [34, -84],
  [42, -76],
  [46, -46],
  [42, -14],
  [32, 0],
];

/** The two kilns, 960 × 600. Wall and floor are the page's: the floor begins 54 above the lower edge. */
export function kilns(): string {
  const picture = new Picture('kilns', 107);
  const left = 252;
  const right = 708;
  for (const x of [left, right]) kiln(picture, x);
  for (const x of [left, right]) {
    board(picture, x, 402);
    board(picture, x, 268);
  }
  ware(picture, left - 62, 262, crock, glazes.slate, { rings: [200] });
  ware(picture, left + 10, 262, cup, glazes.butter);
  ware(picture, left + 76, 262, cup, glazes.celadon);
  ware(picture, right - 58, 262, cup, glazes.ironred);
  ware(picture, right + 34, 262, round3, glazes.chalk);

  ware(picture, left - 116, 396, bottle, glazes.celadon, { dip: { colour: '#e9dfc9', at: 358, wave: 4 } });
  ware(picture, left - 20, 396, bowl, glazes.cobalt);
  ware(picture, left - 20, 358, bowl, glazes.blush);
  ware(picture, left + 104, 396, round3, glazes.oatmeal, { speckles: 40 });
  ware(picture, right - 122, 396, cup, glazes.oatmeal, { speckles: 30 });
  ware(picture, right - 56, 396, cup, glazes.oatmeal, { speckles: 30 });
  ware(picture, right + 26, 396, jar, glazes.copper, { closed: true });
  ware(picture, right + 118, 396, crock, glazes.butter, { rings: [330] });

  ware(picture, left - 116, floor + 6, jar, glazes.tenmoku, { closed: true });
  const handle = (x: number, glaze: Glaze): void =>
    strap(picture, `M${x + 26} ${floor - 42}c34 -8 36 38 0 34`, 9, glaze);
  handle(left - 14, glazes.chalk);
  ware(
    picture,
    left - 14,
    floor + 6,
    cup,
    { ...glazes.chalk },
    {
      dip: { colour: glazes.cobalt.body, at: floor - 26, wave: 3 },
      foot: undefined!,
    },
  );
  ware(picture, left + 104, floor + 6, bottle, glazes.ash, { speckles: 30 });
  ware(picture, right - 104, floor + 6, round3, glazes.ironred, { rings: [500, 520] });
  ware(picture, right + 12, floor + 6, bowl, glazes.shino, { speckles: 30 });
  ware(picture, right + 12, floor - 32, bowl, glazes.celadon);
  ware(picture, right + 118, floor + 6, bottle, glazes.cobalt);
  return picture.wide('Two brick kilns with their doors open, stacked with pots', [0, 20, wide, high - 40]);
}

/** Two arches side by side: the mark stamped under every pot. */
export function mark(): string {
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 40" width="48" height="40">' +
    '<path fill="#b4432a" d="M2 38V19A10.5 10.5 0 0 1 23 19V38Z"/><path fill="#27469c" d="M25 38V19A10.5 10.5 0 0 1 46 19V38Z"/>' +
    '<path fill="#fff" d="M8.5 38V21.500a4 4 0 0 1 8 0V38ZM31.500 38V21.500a4 4 0 0 1 8 0V38Z"/></svg>'
  );
}
