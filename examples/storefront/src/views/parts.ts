/** Small pieces that several pages share. */
import type { Product } from '../catalog/products.ts';
import type { Assets } from '../web/assets.ts';
import { type Html, html, money } from '../web/html.ts';
import type { Problem } from '../web/problems.ts';

/** The drawn picture of a product; the mark for one that has none. `described`: the name is not written next to it. */
export function picture(
  assets: Assets,
  sku: string,
  {
    size,
    described = false,
    eager = false,
  }: { readonly size: number; readonly described?: boolean; readonly eager?: boolean },
): Html {
  const name = assets.has(`${sku}.svg`) ? `${sku}.svg` : 'mark.svg';
  const { path, title } = assets.get(name);
  return html`<img class="picture" src="${path}" alt="${described ? title : ''}" width="${size}" height="${size}"${eager ? html` fetchpriority="high"` : html` loading="lazy"`} decoding="async">`;
}

export type ShelfOptions = {
  /** How many pictures are worth loading before they are scrolled to. */
  readonly eager?: number;
  /** With an odd number of things the first one is shown larger, so that four columns (and two, on a phone) come out even. */
  readonly lead?: boolean;
};

export function shelf(
  assets: Assets,
  products: readonly Product[],
  { eager = 0, lead = false }: ShelfOptions = {},
): Html {
  const leading = !lead || products.length % 2 === 0 ? '' : products.length % 4 === 1 ? ' lead tall' : ' lead flat';
  return html`<ul class="shelf${leading}">${products.map(
    (product, i) => html`<li><a href="/products/${product.sku}">
${picture(assets, product.sku, { size: 400, eager: i < eager })}
<span class="name">${product.name}</span> <span class="price">${money(product.price)}</span>
<span class="line">${product.summary}</span></a></li>`,
  )}</ul>`;
}

export function quantityField(id: string, name: string, value: number, label: string, min = 0): Html {
  return html`<label class="hidden" for="${id}">${label}</label><input id="${id}" class="quantity" name="${name}" type="number" inputmode="numeric" min="${min}" max="99" value="${value}" required>`;
}

/** What was wrong with a form, above it, announced and focused. */
export function formProblem(problem: Problem | undefined): Html | null {
  if (problem === undefined) return null;
  return html`<div class="alert" role="alert"><p><b>${problem.title}.</b> ${problem.message}</p>${
    problem.next === undefined ? null : html`<p><a href="${problem.next.href}">${problem.next.label}</a></p>`
  }</div>`;
}

/** `1 thing`, `2 things`. */
export function things(count: number): string {
  return count === 1 ? '1 thing' : `${count} things`;
}

/** 22 November 2026, 14:05 UTC, in the order Americans read it. */
export function moment(at: string): Html {
  const shown = new Date(at).toLocaleString('en-US', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });
  return html`<time datetime="${at}">${shown} UTC</time>`;
}

/** The part of an order's id that people read to each other over the telephone. */
export function shortOrder(id: string): string {
  const tail = id.slice(-8).toUpperCase();
  return `${tail.slice(0, 4)} ${tail.slice(4)}`;
}
