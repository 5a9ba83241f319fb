import { specks } from './drinking.ts';
import { type Point, round, smooth } from './geometry.ts';
import { clay, type Glaze, glazes } from './glazes.ts';
import { Picture, pot, strap } from './pot.ts';
import { lemon, steam, stem } from './props.ts';

/** A lip pulled out of the rim to the left, drawn over it. */
function lip(picture: Picture, x: number, y: number, reach: number, glaze: Glaze): void {
  picture.add(
    `<path fill="${glaze.body}" d="M${round(x)} ${round(y + reach * 1.05)}C${round(x - reach * 0.5)} ${round(y + reach * 0.7)} ${round(x - reach * 0.9)} ${round(y)} ${round(x - reach)} ${round(y - reach * 0.34)}L${round(x + reach * 0.5)} ${round(y - reach * 0.1)}Z"/>`,
    `<path fill="${glaze.inside}" d="M${round(x - reach)} ${round(y - reach * 0.34)}C${round(x - reach * 0.4)} ${round(y - reach * 0.38)} ${round(x)} ${round(y - reach * 0.3)} ${round(x + reach * 0.55)} ${round(y - reach * 0.24)}L${round(x + reach * 0.5)} ${round(y + reach * 0.2)}C${round(x)} ${round(y + reach * 0.1)} ${round(x - reach * 0.6)} ${round(y - reach * 0.16)} ${round(x - reach)} ${round(y - reach * 0.34)}Z"/>`,
    `<path fill="none" stroke="${glaze.rim}" stroke-width="4" stroke-linecap="round" d="M${round(x + reach * 0.4)} ${round(y + reach * 0.22)}C${round(x)} ${round(y + reach * 0.12)} ${round(x - reach * 0.6)} ${round(y - reach * 0.14)} ${round(x - reach)} ${round(y - reach * 0.34)}"/>`,
  );
}

export function jug(): string {
  const picture = new Picture('jug', 7).ground('sun', 322);
  const glaze = glazes.cobalt;
  strap(picture, 'M250 190C338 168 344 300 262 316', 20, glaze);
  pot(picture, {
    x: 196,
    profile: [
      [56, 152],
      [52, 178],
      [58, 222],
      [76, 280],
      [82, 332],
      [74, 380],
      [60, 404],
    ],
    glaze,
    foot: 392,
    rings: [212, 300],
    decoration: (turned) => [
      `<path fill="#f4f2ea" d="${turned.patch(-90, 90, 236, 262)}"/>`,
      ...[-75, -45, -15, 15, 45, 75].map(
        (angle) =>
          `<path fill="#b34a2f" d="${diamond(turned.at(angle, 249), 9 * Math.cos((angle * Math.PI) / 180), 10)}"/>`,
      ),
    ],
    shine: { from: 276, to: 366, wide: 10 },
  });
  lip(picture, 146, 156, 34, glaze);
  return picture.svg('A quart jug in cobalt with a white band of red diamonds');
}

function diamond([x, y]: Point, rx: number, ry: number): string {
  return `M${round(x)} ${round(y - ry)}L${round(x + rx)} ${round(y)}L${round(x)} ${round(y + ry)}L${round(x - rx)} ${round(y)}Z`;
}

export function creamer(): string {
  const picture = new Picture('creamer', 13).ground('brick', 316);
  const glaze = glazes.shino;
  strap(picture, 'M250 270C312 258 318 350 258 362', 17, glaze);
  pot(picture, {
    x: 198,
    profile: [
      [58, 242],
      [52, 262],
      [58, 300],
      [72, 340],
      [68, 382],
      [52, 402],
    ],
    glaze,
    speckles: 90,
    dip: { colour: clay.beacon, at: 372, wave: 5, slant: -14 },
    rings: [320, 336],
    liquid: { colour: '#fffdf6', depth: 9 },
    shine: { from: 310, to: 362, wide: 9 },
  });
  lip(picture, 148, 246, 30, glaze);
  return picture.svg('A half-pint creamer in shino white over bare red clay', [24, 108, 352]);
}

export function teapot(): string {
  const picture = new Picture('teapot', 19).ground('leaf', 318);
  const glaze = glazes.ironred;
  picture.add(
    '<path fill="none" stroke="#3a2317" stroke-width="13" stroke-linecap="round" d="M112 270C78 148 300 122 296 262"/>',
    '<path fill="none" stroke="#8a5d3b" stroke-width="7" stroke-linecap="round" d="M112 268C80 150 298 124 295 260"/>',
    '<path fill="none" stroke="#3a2317" stroke-width="8" stroke-dasharray="2.4 7" d="M112 268C80 150 298 124 295 260"/>',
  );
  const spout: Point[] = [
    [276, 348],
    [312, 334],
    [330, 296],
    [352, 258],
    [374, 250],
    [372, 264],
    [356, 280],
    [342, 330],
    [318, 374],
    [272, 392],
  ];
  picture.add(
    `<path fill="${glaze.body}" d="${smooth(spout, true)}"/>`,
    `<path fill="${glaze.shade}" opacity=".45" d="M372 264C352 280 342 346 272 390C316 384 338 350 346 322C354 290 360 276 372 264Z"/>`,
    `<ellipse fill="${glaze.inside}" cx="366" cy="256" rx="11" ry="5" transform="rotate(-24 366 256)"/>`,
  );
  pot(picture, {
    x: 198,
    profile: [
      [56, 262],
      [78, 276],
      [104, 312],
      [108, 350],
      [90, 388],
      [66, 402],
    ],
    glaze,
    foot: 394,
    rings: [330, 362],
    closed: true,
    shine: { from: 292, to: 366, angle: -52, wide: 11 },
  });
  pot(picture, {
    x: 198,
    profile: [
      [5, 216],
      [15, 222],
      [15, 234],
      [7, 240],
      [26, 246],
      [52, 256],
      [60, 266],
    ],
    glaze,
    closed: true,
    shadow: false,
    shine: { from: 250, to: 262, angle: -50, wide: 5 },
  });
  picture.add(strapEnd(112, 272), strapEnd(296, 266));
  steam(picture, 386, 226, '#fff', 0.45);
  return picture.svg('A two-cup teapot in iron red with a cane handle', [6, 62, 388]);
}

function strapEnd(x: number, y: number): string {
  return `<circle cx="${x}" cy="${y}" r="9" fill="#7d2c1b"/><circle cx="${x - 2}" cy="${y - 2}" r="3" fill="#f1a183" opacity=".7"/>`;
}

export function oilBottle(): string {
  const picture = new Picture('oil', 43).ground('lilac', 326);
  const glaze = glazes.ash;
  const cork: string[] = [
    '<path fill="#c59a68" d="M180 100h40l-4 34h-32Z"/>',
    '<path fill="#8a6238" opacity=".45" d="M206 100h14l-4 34h-12Z"/>',
    '<ellipse fill="#dbb98b" cx="200" cy="100" rx="20" ry="5"/>',
    '<g fill="#8a6238" opacity=".6"><circle cx="192" cy="112" r="1.6"/><circle cx="203" cy="120" r="1.3"/><circle cx="197" cy="126" r="1.1"/></g>',
  ];
  picture.add(stem('M246 330C300 316 330 300 356 262', '#55743c', 0));
  pot(picture, {
    x: 200,
    profile: [
      [26, 128],
      [20, 142],
      [20, 186],
      [34, 214],
      [68, 242],
      [76, 282],
      [75, 360],
      [70, 396],
      [60, 404],
    ],
    glaze,
    speckles: 60,
    foot: 394,
    clay: clay.beacon,
    dip: { colour: '#d9d6a8', at: 268, wave: 10, slant: 12 },
    decoration: (turned) => [
      `<g fill="#6d6430" opacity=".75">${specks(picture, turned, 280, 388, 40)}</g>`,
      `<path fill="none" stroke="#8f8249" stroke-width="3" opacity=".7" d="${turned.ring(190)}"/>`,
    ],
    shine: { from: 252, to: 372, wide: 9 },
  });
  picture.add(...cork);
  lemon(picture, 308, 392, 30, -16);
  return picture.svg('A stoppered oil bottle in ash glaze beside a lemon', [4, 66, 392]);
}
