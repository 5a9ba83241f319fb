import { round, smooth } from './geometry.ts';
import { clay, glazes } from './glazes.ts';
import { Picture, plate, pot, shadow, strap } from './pot.ts';
import { half, spoon } from './props.ts';

export function butterDish(): string {
  const picture = new Picture('butter', 59).ground('sky', 290);
  const glaze = glazes.chalk;
  plate(picture, { x: 200, y: 372, r: 158, glaze, tilt: 0.27, thick: 10, well: 0.84 });
  pot(picture, {
    x: 200,
    profile: [
      [8, 206],
      [22, 214],
      [22, 230],
      [9, 240],
      [34, 248],
      [92, 264],
      [112, 294],
      [114, 352],
      [113, 372],
    ],
    glaze: { ...glaze, shade: '#8b9bb5' },
    closed: true,
    shadow: false,
    tilt: 0.2,
    decoration: (turned) => {
      const shapes: string[] = [];
      for (let row = 0; row < 4; row++) {
        for (let i = 0; i < 18; i++) {
          if ((i + row) % 2) continue;
          const angle = -90 + i * 10;
          shapes.push(`<path fill="#27469c" d="${turned.patch(angle, angle + 10, 306 + row * 12, 318 + row * 12)}"/>`);
        }
      }
      return shapes;
    },
    shine: { from: 272, to: 296, angle: -46, wide: 8 },
  });
  return picture.svg('A round butter dish, chalk white with cobalt checks', [14, 106, 372]);
}

export function juicer(): string {
  const picture = new Picture('juicer', 67).ground('rose', 296);
  const glaze = glazes.copper;
  strap(picture, 'M296 346C346 334 350 392 290 390', 16, glaze);
  pot(picture, {
    x: 186,
    profile: [
      [122, 332],
      [118, 350],
      [104, 380],
      [84, 396],
      [70, 402],
    ],
    glaze,
    tilt: 0.3,
    foot: 394,
    shine: { from: 344, to: 376, angle: -58, wide: 9 },
    liquid: { colour: '#f0a648', depth: 8 },
    lip: 8,
  });
  const cone = pot(picture, {
    x: 186,
    profile: [
      [3, 258],
      [16, 276],
      [38, 312],
      [54, 344],
    ],
    glaze,
    closed: true,
    shadow: false,
    tilt: 0.3,
    decoration: (turned) =>
      [-78, -52, -26, 0, 26, 52, 78].map(
        (angle) =>
          `<path fill="${glaze.light}" opacity=".4" d="${turned.patch(angle - 5, angle + 5, 262, 344)}"/><path fill="${glaze.shade}" opacity=".5" d="${turned.patch(angle + 5, angle + 11, 262, 344)}"/>`,
      ),
    shine: { from: 1, to: 0 },
  });
  picture.add(
    `<path fill="#f0a648" opacity=".85" d="M${round(cone.x - 60)} 352a62 12 0 0 0 120 0a62 16 0 0 1 -120 0Z"/>`,
  );
  half(picture, 316, 408, 44);
  return picture.svg('A citrus juicer in copper green, half an orange beside it', [26, 130, 344]);
}

export function beanPot(): string {
  const picture = new Picture('beanpot', 71).ground('bone', 314);
  const glaze = glazes.tenmoku;
  strap(picture, 'M92 312C48 306 50 352 94 352', 18, glaze);
  strap(picture, 'M308 312C352 306 350 352 306 352', 18, glaze);
  pot(picture, {
    x: 200,
    profile: [
      [98, 264],
      [116, 292],
      [124, 338],
      [112, 384],
      [90, 404],
    ],
    glaze,
    dip: { colour: clay.beacon, at: 366, wave: 7 },
    rings: [304, 322, 340],
    decoration: (turned) => [
      `<path fill="none" stroke="#e9dfc9" stroke-width="1.6" opacity=".35" d="${turned.ring(386)}"/>`,
    ],
    closed: true,
    shine: { from: 290, to: 352, angle: -52, wide: 11 },
  });
  pot(picture, {
    x: 200,
    profile: [
      [10, 186],
      [24, 194],
      [24, 208],
      [11, 218],
      [40, 226],
      [84, 244],
      [104, 262],
      [104, 272],
    ],
    glaze: { ...glaze, body: '#4a2f25' },
    closed: true,
    shadow: false,
    rings: [240],
    decoration: (turned) => [`<path fill="#a5562d" opacity=".75" d="${turned.patch(-90, 90, 262, 276)}"/>`],
    shine: { from: 230, to: 254, angle: -50, wide: 8 },
  });
  return picture.svg('A lidded bean pot in dark tenmoku, rust where the glaze breaks', [12, 76, 376]);
}

export function crock(): string {
  const picture = new Picture('crock', 73).ground('sea', 326);
  const glaze = glazes.oatmeal;
  picture.add(
    spoon(176, 250, 118, -15, '#c99b64', '#7d5430'),
    spoon(232, 250, 106, 17, '#a8713f', '#5f3c1f', true),
    spoon(204, 246, 136, 2, '#dab57f', '#8f6337'),
  );
  pot(picture, {
    x: 200,
    profile: [
      [82, 228],
      [79, 240],
      [82, 290],
      [84, 350],
      [78, 396],
      [70, 404],
    ],
    glaze,
    speckles: 150,
    foot: 394,
    rings: [270, 356, 372],
    decoration: (turned) => [
      `<path fill="#27469c" opacity=".9" d="${turned.patch(-90, 90, 300, 304)}"/>`,
      `<path fill="#27469c" opacity=".9" d="${turned.patch(-90, 90, 338, 342)}"/>`,
      ...[-72, -36, 0, 36, 72].map((angle) => sprig(turned.at(angle, 321), Math.cos((angle * Math.PI) / 180))),
    ],
    shine: { from: 252, to: 384, wide: 10 },
  });
  // The front wall hides the handles; the back of the rim does not.
  picture.add(
    `<path fill="#8d7a58" d="M121 228a79 13.4 0 0 1 158 0a79 10 0 0 1 -158 0Z"/>`,
    '<path fill="#6e5c3e" d="M126 229a74 11 0 0 1 148 0a74 9 0 0 1 -148 0Z"/>',
    '<path fill="#a8713f" d="M216 238l9 -26h8l-6 27Z"/><path fill="#c99b64" d="M178 239l-6 -24h8l8 25Z"/><path fill="#dab57f" d="M200 240l0 -30h8l1 30Z"/>',
    '<path fill="none" stroke="#d8c49b" stroke-width="4" d="M119 229a81 14 0 0 0 162 0"/>',
  );
  return picture.svg(
    'A utensil crock in speckled oatmeal with painted sprigs, three wooden spoons in it',
    [10, 64, 380],
  );
}

function sprig([x, y]: readonly [number, number], squeeze: number): string {
  const leaf = (dx: number, dy: number, turn: number): string =>
    `<ellipse cx="${round(x + dx * squeeze)}" cy="${round(y + dy)}" rx="${round(6.4 * squeeze)}" ry="2.9" transform="rotate(${turn} ${round(x + dx * squeeze)} ${round(y + dy)})"/>`;
  return `<g fill="#27469c">${leaf(-7, -4, 32)}${leaf(7, -4, -32)}${leaf(-6, 6, 32)}${leaf(6, 6, -32)}<ellipse cx="${round(x)}" cy="${round(y - 11)}" rx="${round(2.8 * squeeze)}" ry="5"/></g><path stroke="#27469c" stroke-width="1.8" d="M${round(x)} ${round(y - 8)}V${round(y + 13)}"/>`;
}

export function saltPig(): string {
  const picture = new Picture('saltpig', 79).ground('night', 318);
  const glaze = glazes.blush;
  shadow(picture, 196, 398, 88, 190);
  const body: [number, number][] = [
    [112, 396],
    [98, 360],
    [100, 300],
    [126, 240],
    [186, 206],
    [246, 214],
    [282, 250],
    [296, 300],
    [296, 350],
    [284, 396],
  ];
  const outline = `${smooth(body)}A88 15 0 0 1 112 396Z`;
  picture.add(`<path fill="${glaze.body}" d="${outline}"/>`);
  picture.within(outline, [
    `<path fill="${clay.beacon}" d="M90 386Q198 414 310 384V430H90Z"/>`,
    `<path fill="${glaze.shade}" opacity=".32" d="M214 190C262 240 262 340 240 420H330V190Z"/>`,
    `<path fill="${glaze.shade}" opacity=".34" d="M262 200C300 260 290 350 274 420H330V190Z"/>`,
    `<path fill="none" stroke="${glaze.light}" stroke-width="10" stroke-linecap="round" opacity=".65" d="M116 330C114 290 132 258 158 240"/>`,
  ]);
  picture.add(
    `<ellipse fill="${glaze.rim}" cx="204" cy="298" rx="70" ry="60"/>`,
    `<ellipse fill="${glaze.inside}" cx="206" cy="300" rx="60" ry="51"/>`,
    '<ellipse fill="#7d463b" cx="200" cy="296" rx="52" ry="44"/>',
    '<path fill="#f7f5ef" d="M152 312C170 300 186 318 204 308S238 300 259 314C252 338 232 351 206 351S160 340 152 312Z"/>',
    '<path fill="#cfc9bb" opacity=".6" d="M214 326C232 320 246 318 257 320C250 340 232 351 206 351C212 342 214 334 214 326Z"/>',
    spoon(214, 334, 92, 34, '#c99b64', '#7d5430'),
  );
  return picture.svg('A salt pig in blush glaze with a small wooden spoon', [14, 96, 368]);
}
