/**
 * Turned shapes, seen a little from above. A pot is a profile (radius by height) spun round an axis, so every line on
 * its surface, a meridian, a ring, the edge of a dip of glaze, can be projected instead of guessed. Pure.
 */
export type Point = readonly [x: number, y: number];

/** Radius and height (SVG units, y downwards) of one turn of the profile, from the rim to the foot. */
export type Profile = readonly Point[];

/** How far from above we look: the ratio of a ring's short axis to its long one. */
export const tilt = 0.17;

/** A repeatable source of numbers in [0, 1): the same picture at every start, in every data center. */
export function seeded(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 4_294_967_296;
  };
}

/** Two decimals are finer than any screen, and keep the files small. */
export function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** More points on the same profile, through all of the given ones (Catmull-Rom). A doubled point makes a corner. */
export function sample(profile: Profile, perSegment = 7): Profile {
  const points: Point[] = [];
  for (let i = 0; i < profile.length - 1; i++) {
    const a = profile[Math.max(0, i - 1)]!;
    const b = profile[i]!;
    const c = profile[i + 1]!;
    const d = profile[Math.min(profile.length - 1, i + 2)]!;
    if (b[0] === c[0] && b[1] === c[1]) continue;
    for (let step = 0; step < perSegment; step++) {
      const t = step / perSegment;
      points.push([catmull(a[0], b[0], c[0], d[0], t), catmull(a[1], b[1], c[1], d[1], t)]);
    }
  }
  points.push(profile[profile.length - 1]!);
  return points;
}

function catmull(a: number, b: number, c: number, d: number, t: number): number {
  return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t);
}

/** A smooth path through the points, closed or open. */
export function smooth(points: readonly Point[], closed = false): string {
  const first = points[0]!;
  let path = `M${round(first[0])} ${round(first[1])}`;
  for (let i = 1; i < points.length - 1; i++) {
    const at = points[i]!;
    const next = points[i + 1]!;
    path += `Q${round(at[0])} ${round(at[1])} ${round((at[0] + next[0]) / 2)} ${round((at[1] + next[1]) / 2)}`;
  }
  const last = points[points.length - 1]!;
  path += `L${round(last[0])} ${round(last[1])}`;
  return closed ? `${path}Z` : path;
}

/** A surface of revolution at `x`: everything that is drawn on a pot asks it where to go. */
export class Turned {
  readonly x: number;
  readonly profile: Profile;
  readonly top: number;
  readonly bottom: number;
  readonly tilt: number;

  constructor(x: number, profile: Profile, ratio = tilt, perSegment = 7) {
    this.x = x;
    this.profile = sample(profile, perSegment);
    this.top = this.profile[0]![1];
    this.bottom = this.profile[this.profile.length - 1]![1];
    this.tilt = ratio;
  }

  radiusAt(y: number): number {
    for (let i = 1; i < this.profile.length; i++) {
      const [r1, y1] = this.profile[i]!;
      const [r0, y0] = this.profile[i - 1]!;
      if (y <= y1) return y1 === y0 ? r1 : r0 + ((r1 - r0) * (Math.max(y, y0) - y0)) / (y1 - y0);
    }
    return this.profile[this.profile.length - 1]![0];
  }

  get widest(): number {
    return Math.max(...this.profile.map(([r]) => r));
  }

  /** Where the point at `angle` (−90° left edge, 0 front, 90° right edge) and height `y` is seen. */
  at(angle: number, y: number): Point {
    const r = this.radiusAt(y);
    const radians = (angle * Math.PI) / 180;
    return [this.x + r * Math.sin(radians), y + r * Math.cos(radians) * this.tilt];
  }

  /** The outline, from the back of the rim round the foot. */
  outline(): string {
    const left = this.profile.map(([r, y]): Point => [this.x - r, y]);
    const right = [...this.profile].reverse().map(([r, y]): Point => [this.x + r, y]);
    const foot = this.profile[this.profile.length - 1]![0];
    const rim = this.profile[0]![0];
    return (
      `${smooth(left)}A${round(foot)} ${round(foot * this.tilt)} 0 0 0 ${round(this.x + foot)} ${round(this.bottom)}` +
      `${smooth(right).replace('M', 'L')}A${round(rim)} ${round(rim * this.tilt)} 0 0 0 ${round(this.x - rim)} ${round(this.top)}Z`
    );
  }

  /** The piece of surface between two angles and two heights. */
  patch(from: number, to: number, y0: number, y1: number): string {
    const across = (y: number, a: number, b: number): Point[] =>
      [0, 0.25, 0.5, 0.75, 1].map((t) => this.at(a + (b - a) * t, y));
    const along = (angle: number, a: number, b: number): Point[] => {
      const steps = Math.max(2, Math.ceil(Math.abs(b - a) / 9));
      return Array.from({ length: steps + 1 }, (_, i) => this.at(angle, a + ((b - a) * i) / steps));
    };
    const edge = [...across(y0, from, to), ...along(to, y0, y1), ...across(y1, to, from), ...along(from, y1, y0)];
    return `M${edge.map(([x, y]) => `${round(x)} ${round(y)}`).join('L')}Z`;
  }

  /** Everything to the right of one meridian. */
  rightOf(angle: number): string {
    const edge = this.profile.map(([, y]) => this.at(angle, y));
    const wide = this.widest + 30;
    const [x, y] = edge[0]!;
    return `${smooth([[x, y - 40], ...edge, [edge.at(-1)![0], this.bottom + 50]])}L${round(this.x + wide)} ${round(this.bottom + 50)}L${round(this.x + wide)} ${round(this.top - 40)}Z`;
  }

  /** Everything below a line round the pot whose height at each angle is `height(angle)`. */
  below(height: (angle: number) => number): string {
    const edge: Point[] = [];
    for (let angle = -90; angle <= 90; angle += 6) edge.push(this.at(angle, height(angle)));
    const wide = this.widest + 20;
    return `${smooth(edge)}L${round(this.x + wide)} ${round(this.bottom + wide)}L${round(this.x - wide)} ${round(this.bottom + wide)}Z`;
  }

  /** The visible front half of a ring. */
  ring(y: number): string {
    const r = this.radiusAt(y);
    return `M${round(this.x - r)} ${round(y)}A${round(r)} ${round(r * this.tilt)} 0 0 0 ${round(this.x + r)} ${round(y)}`;
  }
}
