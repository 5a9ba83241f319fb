import { type Point, round, smooth } from './geometry.ts';
import { clay, glazes } from './glazes.ts';
import { Picture, plate, pot } from './pot.ts';
import { egg, lemon, stem } from './props.ts';

export function supperPlate(): string {
  const picture = new Picture('plate', 3).ground('brick', 250);
  plate(picture, {
    x: 200,
    y: 322,
    r: 168,
    glaze: glazes.oatmeal,
    speckles: 190,
    decoration: (at) => [brush(at)],
  });
  return picture.svg('A wide supper plate in speckled oatmeal with one cobalt stroke of a wide brush', [0, 72, 400]);
}

/** One turn of a wide brush that runs dry: a band whose inner edge frays. */
function brush(at: (angle: number, share: number) => Point): string {
  let strokes = '';
  for (let i = 0; i < 9; i++) {
    const share = 0.4 + i * 0.036;
    const end = 205 - Math.abs(i - 3.4) * 13 - (i % 3) * 9;
    const line: Point[] = [];
    for (let angle = -52 + (i % 4) * 4; angle <= end; angle += 9) line.push(at(angle, share));
    strokes += `<path fill="none" stroke="#27469c" stroke-width="7.4" stroke-linecap="round" opacity=".9" d="${smooth(line)}"/>`;
  }
  return strokes;
}

export function sidePlates(): string {
  const picture = new Picture('sides', 17).ground('lilac', 256);
  const stack = [glazes.slate, glazes.blush, glazes.chalk, glazes.copper];
  stack.forEach((glaze, i) => {
    plate(picture, {
      x: 200 + (i % 2 ? 3 : -3),
      y: 372 - i * 26,
      r: 142 - (i % 2),
      glaze,
      tilt: 0.36,
      thick: 15,
      shadow: i === 0,
      decoration: i === 3 ? (at) => [petals(at)] : undefined!,
    });
  });
  return picture.svg('Four side plates in a stack: copper green, chalk, blush and slate', [20, 100, 360]);
}

function petals(at: (angle: number, share: number) => Point): string {
  let path = '';
  for (let i = 0; i < 16; i++) {
    const angle = i * 22.5;
    const points = [
      at(angle - 5, 0.78),
      at(angle - 6, 0.88),
      at(angle, 0.95),
      at(angle + 6, 0.88),
      at(angle + 5, 0.78),
    ];
    path += `M${points.map(([x, y]) => `${round(x)} ${round(y)}`).join('L')}Z`;
  }
  return `<path fill="#dff1e6" opacity=".75" d="${path}"/>`;
}

export function noodleBowl(): string {
  const picture = new Picture('noodle', 29).ground('sea', 304);
  pot(picture, {
    x: 196,
    profile: [
      [140, 262],
      [134, 300],
      [112, 346],
      [78, 382],
      [58, 392],
      [58, 392],
      [56, 410],
    ],
    glaze: glazes.shino,
    tilt: 0.26,
    foot: 394,
    clay: clay.beacon,
    speckles: 120,
    rings: [322, 350],
    decoration: (turned) => [
      `<path fill="#b34a2f" d="${turned.patch(-90, 90, 286, 297)}"/>`,
      `<path fill="#b34a2f" d="${turned.patch(-90, 90, 301, 304)}"/>`,
    ],
    liquid: { colour: '#c98a3f', depth: 13 },
    shine: { from: 276, to: 346, angle: -56, wide: 11 },
    lip: 7,
  });
  noodles(picture);
  const chopstick = (x1: number, y1: number, x2: number, y2: number): string =>
    stem(`M${x1} ${y1}L${x2} ${y2}`, '#2a1a16', 7) + stem(`M${x1} ${y1 - 2}L${x2} ${y2 - 2}`, '#8a2f22', 3);
  picture.add(chopstick(92, 246, 372, 214), chopstick(96, 256, 374, 240));
  return picture.svg('A deep noodle bowl in shino with two red bands, chopsticks across it', [0, 76, 400]);
}

function noodles(picture: Picture): void {
  let path = '';
  for (let i = 0; i < 7; i++) {
    const y = 262 + i * 5;
    const x = 118 + Math.abs(i - 3) * 9;
    path += `M${x} ${y}c20 -9 34 9 54 0s34 -8 52 1 20 6 32 0`;
  }
  picture.add(
    `<path fill="none" stroke="#f4dfa6" stroke-width="4.6" stroke-linecap="round" d="${path}"/>`,
    '<ellipse fill="#fbf7ee" cx="248" cy="266" rx="24" ry="12"/><ellipse fill="#f0a32d" cx="250" cy="266" rx="12" ry="6"/>',
    '<g fill="#4f8a4a"><circle cx="160" cy="258" r="4"/><circle cx="176" cy="286" r="3.6"/><circle cx="204" cy="256" r="3.4"/><circle cx="136" cy="276" r="3"/><circle cx="216" cy="290" r="4"/></g>',
  );
}

export function morningBowls(): string {
  const picture = new Picture('morning', 37).ground('bone', 312);
  const bowl = (
    bottom: number,
    glaze: typeof glazes.butter | typeof glazes.slate | typeof glazes.blush,
    lowest: boolean,
  ): void => {
    pot(picture, {
      x: 200,
      profile: [
        [112, bottom - 96],
        [108, bottom - 68],
        [94, bottom - 36],
        [68, bottom - 12],
        [52, bottom - 8],
        [52, bottom - 8],
        [50, bottom],
      ],
      glaze,
      foot: bottom - 9,
      clay: clay.ojai,
      rings: [bottom - 54],
      shine: { from: bottom - 82, to: bottom - 36, angle: -54, wide: 9 },
      shadow: lowest,
      tilt: 0.2,
      lip: 5,
    });
  };
  bowl(404, glazes.slate, true);
  bowl(346, glazes.blush, false);
  bowl(288, glazes.butter, false);
  return picture.svg('Three bowls in a stack: butter yellow, blush and slate', [26, 90, 348]);
}

export function platter(): string {
  const picture = new Picture('platter', 41).ground('plum', 262);
  plate(picture, {
    x: 200,
    y: 336,
    r: 178,
    glaze: glazes.celadon,
    tilt: 0.3,
    well: 0.78,
    thick: 12,
    decoration: (at) => [waves(at)],
  });
  picture.add('<ellipse fill="#180f14" opacity=".18" cx="214" cy="338" rx="98" ry="20"/>');
  lemon(picture, 248, 308, 29, 16);
  lemon(picture, 152, 318, 31, -14);
  lemon(picture, 204, 330, 32, 4);
  picture.add(
    '<path fill="#4d7a3a" d="M234 290c12 -28 42 -34 58 -24c-12 18 -32 28 -58 24Z"/><path fill="#335a28" d="M234 290c18 -12 38 -20 58 -24c-12 18 -32 28 -58 24Z"/>',
  );
  return picture.svg('A long celadon platter with combed waves round its rim and three lemons on it', [0, 74, 400]);
}

function waves(at: (angle: number, share: number) => Point): string {
  let lines = '';
  for (let row = 0; row < 3; row++) {
    const points: Point[] = [];
    for (let angle = 0; angle <= 360; angle += 4) {
      points.push(at(angle, 0.83 + row * 0.045 + Math.sin((angle * 12 * Math.PI) / 180) * 0.015));
    }
    lines += `<path fill="none" stroke="#4f7f6d" stroke-width="2.2" opacity=".6" d="${smooth(points)}"/>`;
  }
  return lines;
}

export function pinchPots(): string {
  const picture = new Picture('pinch', 53).ground('sky', 300);
  const dish = (
    x: number,
    y: number,
    glaze: typeof glazes.cobalt | typeof glazes.ironred | typeof glazes.butter,
    inside: string,
  ): void => {
    pot(picture, {
      x,
      profile: [
        [64, y - 44],
        [62, y - 26],
        [50, y - 6],
        [38, y],
      ],
      glaze,
      tilt: 0.3,
      shine: { from: y - 34, to: y - 10, angle: -58, wide: 7 },
      liquid: { colour: inside, depth: 8 },
      lip: 5,
    });
  };
  dish(204, 330, glazes.cobalt, '#f6f4ee');
  grains(picture, 204, 294, '#d9d5c8', 46);
  dish(118, 404, glazes.butter, '#2d2522');
  grains(picture, 118, 368, '#7a6a5c', 46);
  dish(284, 404, glazes.ironred, '#e9b64a');
  grains(picture, 284, 368, '#a5501f', 46);
  return picture.svg(
    'Three pinch pots, cobalt, butter yellow and iron red, with salt, pepper and saffron',
    [28, 148, 332],
  );
}

function grains(picture: Picture, x: number, y: number, colour: string, count: number): void {
  let dots = '';
  for (let i = 0; i < count; i++) {
    const angle = picture.random() * Math.PI * 2;
    const far = Math.sqrt(picture.random());
    dots += `<circle cx="${round(x + Math.cos(angle) * far * 46)}" cy="${round(y + Math.sin(angle) * far * 13)}" r="1.6"/>`;
  }
  picture.add(`<g fill="${colour}">${dots}</g>`);
}

export function eggCup(): string {
  const picture = new Picture('eggcup', 61).ground('sun', 320);
  const cup = (
    x: number,
    y: number,
    glaze: typeof glazes.chalk | typeof glazes.cobalt,
    band: string,
    shell: string,
  ): void => {
    const draw = (): void => {
      pot(picture, {
        x,
        profile: [
          [46, y - 118],
          [44, y - 92],
          [30, y - 66],
          [16, y - 50],
          [14, y - 34],
          [26, y - 12],
          [40, y],
        ],
        glaze,
        shine: { from: y - 108, to: y - 76, wide: 6 },
        decoration: (turned) =>
          [-75, -45, -15, 15, 45, 75].map(
            (angle) => `<path fill="${band}" d="${turned.patch(angle - 7, angle + 7, y - 112, y - 98)}"/>`,
          ),
      });
    };
    draw();
    egg(picture, x, y - 122, 36, shell);
    // The front of the rim goes over the egg again.
    picture.add(
      `<path fill="none" stroke="${glaze.rim}" stroke-width="4.5" d="M${x - 44} ${y - 117}A44 7.6 0 0 0 ${x + 44} ${y - 117}"/>`,
      `<path fill="none" stroke="${glaze.body}" stroke-width="5" d="M${x - 45} ${y - 113}A45 8 0 0 0 ${x + 45} ${y - 113}"/>`,
    );
  };
  cup(266, 362, glazes.cobalt, '#f4f2ea', '#f3e6d6');
  cup(146, 404, glazes.chalk, '#27469c', '#dca37c');
  return picture.svg('Two egg cups, chalk and cobalt, with an egg in each', [32, 118, 340]);
}

/** For the pages that say what went wrong: a bowl that broke, and was mended with gold. */
export function mendedBowl(): string {
  const picture = new Picture('mended', 109).ground('night', 316);
  const glaze = { ...glazes.celadon, shade: '#3c6a5c' };
  const crack = (path: string): string =>
    `<path fill="none" stroke="#a8741a" stroke-width="6.5" stroke-linejoin="round" stroke-linecap="round" d="${path}"/>` +
    `<path fill="none" stroke="#f3cf63" stroke-width="4" stroke-linejoin="round" stroke-linecap="round" d="${path}"/>`;
  pot(picture, {
    x: 200,
    profile: [
      [132, 250],
      [128, 286],
      [108, 338],
      [74, 376],
      [54, 386],
      [54, 386],
      [52, 402],
    ],
    glaze,
    tilt: 0.24,
    foot: 388,
    clay: clay.beacon,
    rings: [312, 344],
    shine: { from: 266, to: 334, angle: -56, wide: 11 },
    lip: 7,
    decoration: () => [
      crack('M150 270L164 304L148 326L170 356L160 396'),
      crack('M164 304L206 318L232 300L262 312L300 286'),
      crack('M206 318L214 352L238 378'),
    ],
  });
  picture.add(crack('M150 277L140 262L152 246L138 232'), crack('M262 312L258 296'));
  return picture.svg('A bowl that broke and was mended with gold', [0, 72, 400]);
}
