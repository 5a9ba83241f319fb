import type { Profile, Turned } from './geometry.ts';
import { clay, glazes } from './glazes.ts';
import { Picture, plate, pot, strap } from './pot.ts';
import { steam } from './props.ts';

const mugProfile: Profile = [
  [74, 214],
  [77, 260],
  [77, 320],
  [74, 366],
  [66, 392],
  [56, 400],
];

export function mug(): string {
  const picture = new Picture('mug', 11).ground('sky', 318);
  const { oatmeal } = glazes;
  strap(picture, 'M258 252C332 232 344 352 256 352', 19, oatmeal);
  pot(picture, {
    x: 186,
    profile: mugProfile,
    glaze: { ...glazes.cobalt, inside: '#c9b793', shade: '#2b1f3d' },
    dip: { colour: oatmeal.body, at: 296, wave: 6, slant: -12 },
    foot: 389,
    speckles: 0,
    decoration: (turned) => [
      `<g fill="${oatmeal.speck}" opacity=".7">${specks(picture, turned, 308, 384, 64)}</g>`,
      `<path fill="none" stroke="#fff" stroke-width="2" opacity=".2" d="${turned.ring(240)}"/>`,
    ],
    liquid: { colour: '#2b1710', depth: 9 },
    shine: { from: 234, to: 372, wide: 9 },
  });
  steam(picture, 186, 192);
  return picture.svg('A mug dipped in cobalt over speckled oatmeal, with coffee in it');
}

/** Specks on one band of a pot only. */
export function specks(picture: Picture, turned: Turned, from: number, to: number, count: number): string {
  let dots = '';
  for (let i = 0; i < count; i++) {
    const [x, y] = turned.at((picture.random() * 2 - 1) * 80, from + picture.random() * (to - from));
    dots += `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${(0.6 + picture.random() ** 3 * 1.8).toFixed(1)}"/>`;
  }
  return dots;
}

export function tumbler(): string {
  const picture = new Picture('tumbler', 5).ground('rose', 316);
  const glass = (x: number, bottom: number, glaze: (typeof glazes)['celadon'] | (typeof glazes)['copper']): void => {
    const top = bottom - 172;
    pot(picture, {
      x,
      profile: [
        [62, top],
        [61, top + 50],
        [57, top + 110],
        [51, top + 156],
        [46, bottom],
      ],
      glaze,
      foot: bottom - 8,
      clay: clay.ojai,
      decoration: (turned) => facets(turned, glaze.light, glaze.shade, top + 26, bottom - 9),
      shine: { from: top + 34, to: top + 36 },
    });
  };
  glass(258, 366, glazes.copper);
  glass(148, 402, glazes.celadon);
  return picture.svg('Two faceted tumblers, one celadon and one copper green', [12, 96, 376]);
}

function facets(turned: Turned, light: string, shade: string, top: number, bottom: number): string[] {
  const shapes: string[] = [];
  for (let angle = -90, i = 0; angle < 90; angle += 22.5, i++) {
    const even = i % 2 === 0;
    shapes.push(
      `<path fill="${even ? light : shade}" opacity="${even ? 0.34 : 0.16}" d="${turned.patch(angle, angle + 22.5, top + (even ? 0 : 7), bottom)}"/>`,
    );
  }
  return shapes;
}

export function espresso(): string {
  const picture = new Picture('espresso', 23).ground('sun', 306);
  const cup = (
    x: number,
    y: number,
    glaze: (typeof glazes)['ironred'] | (typeof glazes)['chalk'],
    handle: string,
  ): void => {
    plate(picture, { x, y: y + 2, r: 92, glaze, tilt: 0.27, thick: 7, well: 0.5 });
    strap(picture, handle, 11, glaze);
    pot(picture, {
      x,
      profile: [
        [46, y - 72],
        [45, y - 44],
        [40, y - 18],
        [31, y + 2],
        [26, y + 5],
      ],
      glaze,
      liquid: { colour: '#4a2413', depth: 7 },
      shine: { from: y - 58, to: y - 20, wide: 6 },
      shadow: false,
      rings: [y - 30],
    });
  };
  cup(258, 318, glazes.chalk, 'M300 268c34 -8 34 40 -4 36');
  cup(142, 398, glazes.ironred, 'M184 348c34 -8 34 40 -4 36');
  steam(picture, 256, 232, '#fff', 0.6);
  return picture.svg('Two espresso cups on saucers, iron red and chalk white', [20, 88, 368]);
}

export function yunomi(): string {
  const picture = new Picture('yunomi', 31).ground('leaf', 322);
  pot(picture, {
    x: 200,
    profile: [
      [66, 196],
      [70, 240],
      [71, 300],
      [69, 350],
      [60, 384],
      [46, 394],
      [46, 394],
      [44, 408],
    ],
    glaze: glazes.tenmoku,
    dip: { colour: clay.dark, at: 372, wave: 8, slant: 5 },
    decoration: (turned) => [
      `<path fill="#a5562d" opacity=".8" d="${turned.patch(-90, 90, 190, 203)}"/>`,
      `<path fill="#a5562d" opacity=".4" d="${turned.patch(-90, 90, 203, 214)}"/>`,
      `<path fill="none" stroke="#c98a55" stroke-width="5" opacity=".5" d="${turned.ring(282)}"/>`,
    ],
    rings: [246, 318, 340],
    liquid: { colour: '#8fa04a', depth: 10 },
    shine: { from: 222, to: 346, wide: 9 },
  });
  steam(picture, 198, 172, '#fff', 0.42);
  return picture.svg('A tall tea bowl in dark tenmoku that breaks to rust at the rim, green tea in it');
}

export function sake(): string {
  const picture = new Picture('sake', 47).ground('night', 320);
  const { celadon, chalk } = glazes;
  pot(picture, {
    x: 150,
    profile: [
      [32, 138],
      [24, 156],
      [20, 180],
      [28, 214],
      [56, 258],
      [70, 312],
      [66, 362],
      [50, 388],
    ],
    glaze: chalk,
    dip: { colour: celadon.body, at: 252, wave: 7, slant: 8 },
    rings: [330, 348],
    shine: { from: 236, to: 336, wide: 9 },
    decoration: (turned) => [
      `<path fill="none" stroke="#27469c" stroke-width="4" d="${turned.ring(228)}"/>`,
      `<path fill="none" stroke="#27469c" stroke-width="1.6" d="${turned.ring(236)}"/>`,
    ],
  });
  for (const [x, y] of [
    [302, 376],
    [240, 418],
  ] as const) {
    pot(picture, {
      x,
      profile: [
        [36, y - 46],
        [34, y - 26],
        [27, y - 8],
        [20, y],
      ],
      glaze: chalk,
      dip: { colour: celadon.body, at: y - 24, wave: 3 },
      liquid: { colour: '#eef3e2', depth: 5 },
      shine: { from: y - 38, to: y - 20, wide: 5 },
    });
  }
  return picture.svg('A sake flask and two cups, chalk white dipped in celadon');
}
