/**
 * Draws pots. The light comes from a window on the left, so the shade lies right and the shadow falls right. Everything
 * is flat colour with hard edges, which prints well, compresses well and needs no filter from the browser.
 */
import { type Point, type Profile, round, seeded, smooth, Turned, tilt } from './geometry.ts';
import { clay, type Glaze, type GroundName, grounds } from './glazes.ts';

export const width = 400;
export const height = 480;

/** One picture in the making: a wall, a table, and what stands on it, drawn back to front. */
export class Picture {
  readonly random: () => number;
  readonly #key: string;
  readonly #shapes: string[] = [];
  #clips = 0;

  constructor(key: string, seed: number) {
    this.#key = key;
    this.random = seeded(seed);
  }

  add(...shapes: string[]): this {
    this.#shapes.push(...shapes);
    return this;
  }

  ground(name: GroundName, horizon = 330, wide = width, high = height): this {
    const { wall, table } = grounds[name];
    return this.add(
      `<path fill="${wall}" d="M0 0H${wide}V${high}H0Z"/>`,
      `<path fill="${table}" d="M0 ${horizon}H${wide}V${high}H0Z"/>`,
    );
  }

  /** Draws `shapes` only where `path` is. */
  within(path: string, shapes: readonly string[]): this {
    const id = `${this.#key}${this.#clips++}`;
    return this.add(
      `<clipPath id="${id}"><path d="${path}"/></clipPath><g clip-path="url(#${id})">${shapes.join('')}</g>`,
    );
  }

  /** A square of the scene, `side` wide, with its upper left corner at (x, y): how close the camera stands. */
  svg(title: string, [x, y, side]: readonly [number, number, number] = [0, 56, 400]): string {
    return this.wide(title, [x, y, side, side]);
  }

  wide(title: string, view: readonly [number, number, number, number]): string {
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${view.join(' ')}" width="${view[2]}" height="${view[3]}" role="img">` +
      `<title>${title}</title>${this.#shapes.join('')}</svg>`
    );
  }
}

export type PotOptions = {
  readonly x: number;
  readonly profile: Profile;
  readonly glaze: Glaze;
  /** A second glaze (or bare clay) below a line; `wave` lets it run. */
  readonly dip?: { readonly colour: string; readonly at: number; readonly wave?: number; readonly slant?: number };
  /** Bare clay from here down. */
  readonly foot?: number;
  readonly clay?: string;
  /** Drawn on the surface, under the light and the shade. */
  readonly decoration?: (turned: Turned) => readonly string[];
  readonly speckles?: number;
  /** Marks of the fingers, as heights. */
  readonly rings?: readonly number[];
  /** A pot with a lid, or a solid thing, shows no inside. */
  readonly closed?: boolean;
  readonly liquid?: { readonly colour: string; readonly depth: number };
  readonly shine?: { readonly from: number; readonly to: number; readonly angle?: number; readonly wide?: number };
  readonly tilt?: number;
  readonly shadow?: boolean;
  readonly lip?: number;
  /** How finely the profile is drawn; a pot in the distance needs less. */
  readonly perSegment?: number;
};

export function pot(picture: Picture, options: PotOptions): Turned {
  const { glaze } = options;
  const turned = new Turned(options.x, options.profile, options.tilt ?? tilt, options.perSegment);
  const { top, bottom } = turned;
  const tall = bottom - top;
  if (options.shadow !== false) shadow(picture, turned.x, bottom, turned.profile[turned.profile.length - 1]![0], tall);
  const outline = turned.outline();
  picture.add(`<path fill="${glaze.body}" d="${outline}"/>`);

  const surface: string[] = [];
  if (options.dip) {
    const { colour, at, wave = 5, slant = 0 } = options.dip;
    const phase = picture.random() * 360;
    const line = (angle: number): number =>
      at +
      Math.sin(((angle * 2.3 + phase) * Math.PI) / 180) * wave +
      Math.sin(((angle * 5.1 + phase * 2) * Math.PI) / 180) * wave * 0.45 +
      (angle / 90) * slant;
    surface.push(`<path fill="${colour}" d="${turned.below(line)}"/>`);
    surface.push(
      `<path fill="none" stroke="${glaze.rim}" stroke-width="3" opacity=".75" d="${smooth(range(-90, 90, 6).map((angle) => turned.at(angle, line(angle))))}"/>`,
    );
  }
  if (options.foot !== undefined) {
    const at = options.foot;
    surface.push(`<path fill="${options.clay ?? clay.beacon}" d="${turned.below(() => at)}"/>`);
  }
  surface.push(...(options.decoration?.(turned) ?? []));
  surface.push(speckle(picture, turned, glaze, options.speckles ?? 0));
  for (const at of options.rings ?? []) {
    surface.push(`<path fill="none" stroke="${glaze.shade}" stroke-width="1.6" opacity=".28" d="${turned.ring(at)}"/>`);
  }
  const shade = (from: number, opacity: number): string =>
    `<path fill="${glaze.shade}" opacity="${opacity}" d="${turned.rightOf(from)}"/>`;
  surface.push(shade(22, 0.3), shade(54, 0.34));
  surface.push(shine(turned, glaze, options.shine ?? { from: top + tall * 0.16, to: top + tall * 0.6 }));
  picture.within(outline, surface);
  if (!options.closed) rim(picture, turned, glaze, options);
  return turned;
}

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, i) => from + i * step);
}

/** What falls on the table: to the right, longer for taller things. */
export function shadow(picture: Picture, x: number, y: number, r: number, tall: number): void {
  const reach = Math.min(150, tall * 0.5) + r * 0.4;
  picture.add(
    `<path fill="#180f14" opacity=".17" d="M${round(x - r * 0.9)} ${round(y - 3)}` +
      `L${round(x + reach)} ${round(y - r * 0.2 - 10)}` +
      `A${round(r * 0.5)} ${round(r * 0.16)} 0 0 1 ${round(x + reach + r * 0.5)} ${round(y + r * 0.1)}` +
      `L${round(x + r * 0.2)} ${round(y + r * tilt + 5)}Z"/>`,
    `<ellipse fill="#180f14" opacity=".28" cx="${round(x + 3)}" cy="${round(y + 2)}" rx="${round(r + 4)}" ry="${round(r * tilt + 3)}"/>`,
  );
}

function speckle(picture: Picture, turned: Turned, glaze: Glaze, count: number): string {
  if (!glaze.speck || count === 0) return '';
  let dots = '';
  for (let i = 0; i < count; i++) {
    const angle = (picture.random() * 2 - 1) * 84;
    const y = turned.top + picture.random() * (turned.bottom - turned.top);
    const [cx, cy] = turned.at(angle, y);
    const size = 0.5 + picture.random() ** 3 * 2;
    const squeeze = Math.max(0.35, Math.cos((angle * Math.PI) / 180));
    dots += `M${round(cx)} ${round(cy)}m${round(-size * squeeze)} 0a${round(size * squeeze)} ${round(size)} 0 1 0 ${round(size * squeeze * 2)} 0a${round(size * squeeze)} ${round(size)} 0 1 0 ${round(-size * squeeze * 2)} 0`;
  }
  return `<path fill="${glaze.speck}" opacity=".72" d="${dots}"/>`;
}

function shine(turned: Turned, glaze: Glaze, options: NonNullable<PotOptions['shine']>): string {
  const { from, to, angle = -48, wide = Math.max(4, turned.widest * 0.085) } = options;
  if (to <= from) return '';
  const line = range(0, 10, 1).map((i) => turned.at(angle, from + ((to - from) * i) / 10));
  const second = range(0, 6, 1).map((i) => turned.at(angle + 13, from + (to - from) * (0.05 + i * 0.05)));
  return (
    `<path fill="none" stroke="${glaze.light}" stroke-width="${round(wide)}" stroke-linecap="round" opacity=".62" d="${smooth(line)}"/>` +
    `<path fill="none" stroke="${glaze.light}" stroke-width="${round(wide * 0.4)}" stroke-linecap="round" opacity=".45" d="${smooth(second)}"/>`
  );
}

function rim(picture: Picture, turned: Turned, glaze: Glaze, options: PotOptions): void {
  const r = turned.profile[0]![0];
  const lip = options.lip ?? Math.max(2.5, r * 0.06);
  const inner = r - lip;
  const high = inner * turned.tilt - lip * 0.12;
  const mouth = ellipse(turned.x, turned.top + 0.5, inner, high);
  picture.add(
    `<ellipse fill="${glaze.rim}" cx="${round(turned.x)}" cy="${round(turned.top)}" rx="${round(r)}" ry="${round(r * turned.tilt)}"/>`,
  );
  const inside = [
    `<path fill="${glaze.inside}" d="${mouth}"/>`,
    `<ellipse fill="${glaze.body}" opacity=".5" cx="${round(turned.x + inner * 0.42)}" cy="${round(turned.top)}" rx="${round(inner * 0.85)}" ry="${round(high * 1.3)}"/>`,
  ];
  if (options.liquid) {
    const { colour, depth } = options.liquid;
    inside.push(
      `<ellipse fill="${colour}" cx="${round(turned.x)}" cy="${round(turned.top + depth)}" rx="${round(inner - depth * 0.25)}" ry="${round(high)}"/>`,
      `<ellipse fill="#fff" opacity=".22" cx="${round(turned.x - inner * 0.4)}" cy="${round(turned.top + depth - high * 0.2)}" rx="${round(inner * 0.22)}" ry="${round(high * 0.14)}"/>`,
    );
  }
  picture.within(mouth, inside);
}

/** An ellipse as a path, for clips. */
export function ellipse(x: number, y: number, rx: number, ry: number): string {
  return `M${round(x - rx)} ${round(y)}a${round(rx)} ${round(ry)} 0 1 0 ${round(rx * 2)} 0a${round(rx)} ${round(ry)} 0 1 0 ${round(-rx * 2)} 0Z`;
}

/** A rope of clay: handles, knobs, spouts that do not taper. */
export function strap(picture: Picture, path: string, wide: number, glaze: Glaze): void {
  const line = (colour: string, size: number, opacity: number, dx: number, dy: number): string =>
    `<path fill="none" stroke="${colour}" stroke-width="${round(size)}" stroke-linecap="round" stroke-linejoin="round" opacity="${opacity}" transform="translate(${round(dx)} ${round(dy)})" d="${path}"/>`;
  picture.add(
    line(glaze.body, wide, 1, 0, 0),
    line(glaze.shade, wide * 0.42, 0.4, wide * 0.24, wide * 0.16),
    line(glaze.light, wide * 0.16, 0.6, -wide * 0.22, -wide * 0.16),
  );
}

export type PlateOptions = {
  readonly x: number;
  readonly y: number;
  readonly r: number;
  readonly glaze: Glaze;
  readonly tilt?: number;
  readonly thick?: number;
  /** Radius of the well, as a share. */
  readonly well?: number;
  readonly decoration?: (at: (angle: number, share: number) => Point) => readonly string[];
  readonly speckles?: number;
  readonly shadow?: boolean;
};

/** A plate or a tray: rings within rings. */
export function plate(picture: Picture, options: PlateOptions): void {
  const { x, y, r, glaze, thick = 9, well = 0.72, tilt: ratio = 0.42 } = options;
  const ry = r * ratio;
  if (options.shadow !== false) {
    picture.add(
      `<ellipse fill="#180f14" opacity=".2" cx="${round(x + 16)}" cy="${round(y + thick + 9)}" rx="${round(r * 0.97)}" ry="${round(ry * 0.96)}"/>`,
      `<ellipse fill="#180f14" opacity=".25" cx="${round(x + 5)}" cy="${round(y + thick + 6)}" rx="${round(r * 0.8)}" ry="${round(ry * 0.86)}"/>`,
    );
  }
  const side = `M${round(x - r)} ${round(y)}Q${round(x - r * 0.9)} ${round(y + thick + ry * 0.9)} ${round(x)} ${round(y + thick + ry)}Q${round(x + r * 0.9)} ${round(y + thick + ry * 0.9)} ${round(x + r)} ${round(y)}Z`;
  picture.add(`<path fill="${glaze.shade}" d="${side}"/>`);
  const face = ellipse(x, y, r, ry);
  const at = (angle: number, share: number): Point => [
    x + Math.cos((angle * Math.PI) / 180) * r * share,
    y + Math.sin((angle * Math.PI) / 180) * ry * share,
  ];
  const surface = [
    `<path fill="${glaze.body}" d="${face}"/>`,
    `<path fill="none" stroke="${glaze.rim}" stroke-width="5" d="${face}"/>`,
    `<path fill="${glaze.shade}" opacity=".26" d="${ellipse(x, y + 2, r * well, ry * well)}"/>`,
    `<path fill="${glaze.body}" d="${ellipse(x + 2, y + 6, r * well - 1, ry * well - 2)}"/>`,
    ...(options.decoration?.(at) ?? []),
  ];
  if (glaze.speck) {
    for (let i = 0; i < (options.speckles ?? 0); i++) {
      const [cx, cy] = at(picture.random() * 360, Math.sqrt(picture.random()));
      const size = 0.5 + picture.random() ** 3 * 2;
      surface.push(
        `<ellipse fill="${glaze.speck}" opacity=".7" cx="${round(cx)}" cy="${round(cy)}" rx="${round(size)}" ry="${round(size * 0.6)}"/>`,
      );
    }
  }
  surface.push(
    `<path fill="none" stroke="${glaze.light}" stroke-width="7" stroke-linecap="round" opacity=".65" d="M${round(x - r * 0.86)} ${round(y - ry * 0.16)}A${round(r * 0.88)} ${round(ry * 0.88)} 0 0 1 ${round(x - r * 0.3)} ${round(y - ry * 0.83)}"/>`,
  );
  picture.within(face, surface);
}
