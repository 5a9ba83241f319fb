/** What stands about in a potter's kitchen and makes a pot look used: leaves, fruit, steam, a flame, a spoon. */
import { type Point, round } from './geometry.ts';
import { ellipse, type Picture } from './pot.ts';

/** One leaf from its stalk to its tip, the far half darker. */
export function leaf(
  x: number,
  y: number,
  long: number,
  angle: number,
  colour: string,
  dark: string,
  fat = 0.3,
): string {
  const wide = long * fat;
  return (
    `<g transform="translate(${round(x)} ${round(y)}) rotate(${round(angle)})">` +
    `<path fill="${colour}" d="M0 0C${round(long * 0.3)} ${round(-wide)} ${round(long * 0.75)} ${round(-wide * 0.9)} ${round(long)} 0C${round(long * 0.75)} ${round(wide * 0.9)} ${round(long * 0.3)} ${round(wide)} 0 0Z"/>` +
    `<path fill="${dark}" opacity=".55" d="M0 0C${round(long * 0.35)} ${round(wide * 0.15)} ${round(long * 0.7)} ${round(wide * 0.1)} ${round(long)} 0C${round(long * 0.75)} ${round(wide * 0.9)} ${round(long * 0.3)} ${round(wide)} 0 0Z"/></g>`
  );
}

export function stem(path: string, colour: string, wide = 3): string {
  return `<path fill="none" stroke="${colour}" stroke-width="${wide}" stroke-linecap="round" d="${path}"/>`;
}

/** A branch through `points` with leaves left and right of it. */
export function branch(picture: Picture, points: readonly Point[], colour: string, dark: string, long = 34): void {
  const first = points[0]!;
  let path = `M${round(first[0])} ${round(first[1])}`;
  for (let i = 1; i < points.length; i++) path += `L${round(points[i]![0])} ${round(points[i]![1])}`;
  picture.add(stem(path, dark, 3.2));
  for (let i = 1; i < points.length; i++) {
    const [x, y] = points[i]!;
    const [px, py] = points[i - 1]!;
    const angle = (Math.atan2(y - py, x - px) * 180) / Math.PI;
    const size = long * (1 - i / (points.length * 2.4));
    if (i === points.length - 1) picture.add(leaf(x, y, size, angle, colour, dark));
    else picture.add(leaf(x, y, size, angle + 48, colour, dark), leaf(x, y, size * 0.92, angle - 50, colour, dark));
  }
}

export function blossom(x: number, y: number, size: number, colour: string, heart: string): string {
  let petals = '';
  for (let i = 0; i < 5; i++) {
    const angle = (i * 72 - 90) * (Math.PI / 180);
    petals += `<circle cx="${round(x + Math.cos(angle) * size * 0.62)}" cy="${round(y + Math.sin(angle) * size * 0.62)}" r="${round(size * 0.52)}"/>`;
  }
  return `<g fill="${colour}">${petals}</g><circle fill="${heart}" cx="${round(x)}" cy="${round(y)}" r="${round(size * 0.3)}"/>`;
}

export function lemon(picture: Picture, x: number, y: number, r: number, angle = -12): void {
  picture.add(
    `<g transform="translate(${round(x)} ${round(y)}) rotate(${angle})">` +
      `<path fill="#f4cf3a" d="M${round(-r * 1.3)} 0C${round(-r * 1.05)} ${round(-r * 0.3)} ${round(-r * 0.8)} ${round(-r * 0.95)} 0 ${round(-r * 0.95)}S${round(r * 1.05)} ${round(-r * 0.3)} ${round(r * 1.3)} 0C${round(r * 1.05)} ${round(r * 0.3)} ${round(r * 0.8)} ${round(r * 0.95)} 0 ${round(r * 0.95)}S${round(-r * 1.05)} ${round(r * 0.3)} ${round(-r * 1.3)} 0Z"/>` +
      `<path fill="#c88a16" opacity=".5" d="M${round(r * 1.3)} 0C${round(r * 1.05)} ${round(r * 0.3)} ${round(r * 0.8)} ${round(r * 0.95)} 0 ${round(r * 0.95)}S${round(-r * 0.7)} ${round(r * 0.6)} ${round(-r * 0.9)} ${round(r * 0.35)}C${round(-r * 0.2)} ${round(r * 0.6)} ${round(r * 0.7)} ${round(r * 0.5)} ${round(r * 1.3)} 0Z"/>` +
      `<ellipse fill="#fff6c9" opacity=".75" cx="${round(-r * 0.35)}" cy="${round(-r * 0.45)}" rx="${round(r * 0.28)}" ry="${round(r * 0.12)}" transform="rotate(-20)"/></g>`,
  );
}

/** Half a citrus fruit, cut side up. */
export function half(picture: Picture, x: number, y: number, r: number): void {
  picture.add(
    `<ellipse fill="#180f14" opacity=".22" cx="${round(x + 8)}" cy="${round(y + r * 0.42)}" rx="${round(r * 1.02)}" ry="${round(r * 0.4)}"/>`,
    `<path fill="#e07a1f" d="M${round(x - r)} ${round(y)}C${round(x - r)} ${round(y + r * 0.75)} ${round(x + r)} ${round(y + r * 0.75)} ${round(x + r)} ${round(y)}Z"/>`,
    `<path fill="#fbe3b4" d="${ellipse(x, y, r, r * 0.42)}"/>`,
  );
  let segments = '';
  for (let i = 0; i < 9; i++) {
    const a = (i * 40 + 6) * (Math.PI / 180);
    const b = (i * 40 + 34) * (Math.PI / 180);
    const to = (angle: number, share: number): string =>
      `${round(x + Math.cos(angle) * r * share)} ${round(y + Math.sin(angle) * r * share * 0.42)}`;
    segments += `M${to((a + b) / 2, 0.12)}L${to(a, 0.8)}Q${to((a + b) / 2, 0.92)} ${to(b, 0.8)}Z`;
  }
  picture.add(`<path fill="#f29a38" d="${segments}"/>`);
}

export function egg(picture: Picture, x: number, y: number, r: number, colour = '#e9c3a0'): void {
  picture.add(
    `<path fill="${colour}" d="M${round(x - r)} ${round(y)}C${round(x - r)} ${round(y - r * 0.9)} ${round(x - r * 0.5)} ${round(y - r * 1.6)} ${round(x)} ${round(y - r * 1.6)}S${round(x + r)} ${round(y - r * 0.9)} ${round(x + r)} ${round(y)}S${round(x - r)} ${round(y + r)} ${round(x - r)} ${round(y)}Z"/>`,
    `<path fill="#8c5232" opacity=".25" d="M${round(x + r * 0.35)} ${round(y - r * 1.48)}C${round(x + r * 0.75)} ${round(y - r * 1.1)} ${round(x + r)} ${round(y - r * 0.6)} ${round(x + r)} ${round(y)}L${round(x + r * 0.3)} ${round(y + r * 0.6)}C${round(x + r * 0.7)} ${round(y - r * 0.4)} ${round(x + r * 0.6)} ${round(y - r)} ${round(x + r * 0.35)} ${round(y - r * 1.48)}Z"/>`,
    `<ellipse fill="#fff" opacity=".6" cx="${round(x - r * 0.38)}" cy="${round(y - r * 0.85)}" rx="${round(r * 0.14)}" ry="${round(r * 0.3)}" transform="rotate(18 ${round(x - r * 0.38)} ${round(y - r * 0.85)})"/>`,
  );
}

export function steam(picture: Picture, x: number, y: number, colour = '#fff', strength = 0.5): void {
  const wisp = (dx: number, size: number, opacity: number): string =>
    `<path fill="none" stroke="${colour}" stroke-width="${round(size)}" stroke-linecap="round" opacity="${opacity}" d="M${round(x + dx)} ${round(y)}c-16 -22 16 -34 2 -58s14 -34 6 -54"/>`;
  picture.add(wisp(-22, 5, strength), wisp(4, 6.5, strength * 0.8), wisp(30, 4.5, strength * 0.9));
}

export function candle(picture: Picture, x: number, base: number, tall: number, wide: number, colour: string): void {
  const top = base - tall;
  picture.add(
    `<ellipse fill="#ffe9a8" opacity=".2" cx="${round(x)}" cy="${round(top - 34)}" rx="74" ry="86"/>`,
    `<ellipse fill="#ffe9a8" opacity=".25" cx="${round(x)}" cy="${round(top - 32)}" rx="40" ry="52"/>`,
    `<path fill="${colour}" d="M${round(x - wide)} ${round(top)}V${round(base)}H${round(x + wide)}V${round(top)}Z"/>`,
    `<path fill="#5b3a2a" opacity=".22" d="M${round(x + wide * 0.25)} ${round(top)}V${round(base)}H${round(x + wide)}V${round(top)}Z"/>`,
    `<ellipse fill="#fff8e4" cx="${round(x)}" cy="${round(top)}" rx="${round(wide)}" ry="${round(wide * 0.3)}"/>`,
    stem(`M${round(x)} ${round(top)}v-12`, '#3a2a22', 2.4),
    `<path fill="#f5a623" d="M${round(x)} ${round(top - 62)}c14 22 16 34 10 46a12 12 0 0 1 -20 0c-6 -12 -2 -22 10 -46Z"/>`,
    `<path fill="#fff3c4" d="M${round(x + 1)} ${round(top - 38)}c7 12 8 18 5 24a7 7 0 0 1 -11 0c-3 -6 0 -12 6 -24Z"/>`,
  );
}

/** A wooden spoon standing in something, from (x, y) upwards. */
export function spoon(
  x: number,
  y: number,
  long: number,
  angle: number,
  wood: string,
  dark: string,
  slotted = false,
): string {
  return (
    `<g transform="translate(${round(x)} ${round(y)}) rotate(${round(angle)})">` +
    `<path fill="${wood}" d="M-4 0V${round(-long + 30)}H4V0Z"/><path fill="${dark}" opacity=".4" d="M1 0V${round(-long + 30)}H4V0Z"/>` +
    `<path fill="${wood}" d="M0 ${round(-long - 22)}C15 ${round(-long - 22)} 19 ${round(-long - 4)} 17 ${round(-long + 12)}S8 ${round(-long + 48)} 0 ${round(-long + 48)}S-15 ${round(-long + 28)} -17 ${round(-long + 12)}S-15 ${round(-long - 22)} 0 ${round(-long - 22)}Z"/>` +
    (slotted
      ? `<path fill="none" stroke="${dark}" stroke-width="3.4" stroke-linecap="round" d="M-6 ${round(-long - 6)}v26M0 ${round(-long - 10)}v34M6 ${round(-long - 6)}v26"/>`
      : `<path fill="${dark}" opacity=".35" d="M2 ${round(-long - 16)}c9 2 11 14 10 26s-6 24 -12 30c4 -18 8 -38 2 -56Z"/>`) +
    '</g>'
  );
}
