/** The shop's front: head, header, the strip that says which data center served the page, footer. */
import { categories } from '../catalog/goods.ts';
import type { Assets } from '../web/assets.ts';
import { type Html, html, type Part } from '../web/html.ts';
import { placeOf, type Visit } from '../web/visit.ts';

export type View = { readonly visit: Visit; readonly assets: Assets };

export type PageOptions = {
  readonly title: string;
  readonly main: Part;
  readonly description?: string;
  /** What is in the search field. */
  readonly query?: string;
  /** The category whose link is marked. */
  readonly category?: string;
  /** The desk has a plainer front: no catalog to browse. */
  readonly desk?: boolean;
  readonly class?: string;
  /** Load the page again by itself after so long, in milliseconds. */
  readonly reloadMs?: number;
};

export function layout(view: View, options: PageOptions): Html {
  const { assets } = view;
  const { title, main, description, desk = false } = options;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title === '' ? 'Two Kilns · Stoneware from Beacon and Ojai' : `${title} · Two Kilns`}</title>
${description === undefined ? null : html`<meta name="description" content="${description}">`}
<link rel="preload" href="${assets.path('bricolage.woff2')}" as="font" type="font/woff2" crossorigin>
<link rel="stylesheet" href="${assets.path('shop.css')}">
<link rel="icon" href="${assets.path('mark.svg')}" type="image/svg+xml">
<script src="${assets.path('shop.js')}" defer></script>
</head>
<body${desk ? html` class="desk"` : null}${options.reloadMs === undefined ? null : html` data-reload-ms="${options.reloadMs}"`}>
<a class="skip" href="#main">Skip to the page</a>
${strip(view.visit, desk)}
${desk ? deskHeader(view) : shopHeader(view, options)}
${desk ? null : unheard}
<main id="main" tabindex="-1"${options.class === undefined ? null : html` class="${options.class}"`}>
${main}
</main>
${footer(desk)}
</body>
</html>`;
}

/** Shown by `assets/shop.js` to whoever sent an order and comes back without having had an answer. */
const unheard = html`<p class="note unheard" role="status" data-unheard hidden>You sent us an order, and our answer may not have reached you. <a href="/orders">Ask what became of it</a> before you order again.</p>`;

/** Quiet, and on every page: R6 begins with saying where one is. */
function strip(visit: Visit, desk: boolean): Html {
  const { here } = visit;
  const others = visit.demo ? visit.dataCenters.filter((dc) => dc.name !== here) : [];
  return html`<aside class="strip" aria-label="Data center">
<p>Served from <b data-here="${here}">${placeOf(visit, here)}</b>${desk ? null : whereKept(visit)}</p>
${
  others.length === 0
    ? null
    : html`<p class="elsewhere">Same page from ${others.map(
        (dc, i) =>
          html`${i > 0 ? ', ' : ''}<a href="/in/${dc.name}?to=${encodeURIComponent(visit.path)}" rel="nofollow">${dc.place}</a>`,
      )}</p>`
}
</aside>`;
}

function whereKept(visit: Visit): Html {
  const { home, customer } = visit;
  if (home === null) return html`<span>no account yet</span>`;
  const what = customer === null ? 'your cart is kept' : 'your account is kept';
  return html`<span>${what} in <b data-home="${home}">${placeOf(visit, home)}</b></span>`;
}

function shopHeader({ visit, assets }: View, { query, category }: PageOptions): Html {
  const { customer, cartCount } = visit;
  return html`<header class="top">
<a class="brand" href="/"><img src="${assets.path('mark.svg')}" alt="" width="44" height="37"><span>Two Kilns</span></a>
<form class="search" role="search" action="/products" method="get">
<label class="hidden" for="q">Search the shop</label>
<input id="q" name="q" type="search" value="${query ?? ''}" placeholder="Mugs, lids, blue things" autocomplete="off" enterkeyhint="search" maxlength="100">
<button type="submit">Search</button>
</form>
<nav class="you" aria-label="You">
${
  customer === null
    ? html`<a href="/sign-in">Sign in</a>`
    : html`<a href="/orders">${customer.name === '' ? 'Your orders' : customer.name}</a>`
}
<a class="cart" href="/cart">Cart <b data-cart-count>${cartCount}</b><span class="hidden"> ${cartCount === 1 ? 'thing' : 'things'}</span></a>
</nav>
<nav class="shelves" aria-label="Shelves">
<ul>${categories.map(
    ({ slug, name }) =>
      html`<li><a href="/products?category=${slug}"${slug === category ? html` aria-current="page"` : null}>${name}</a></li>`,
  )}</ul>
</nav>
</header>`;
}

function deskHeader({ assets }: View): Html {
  return html`<header class="top">
<a class="brand" href="/desk"><img src="${assets.path('mark.svg')}" alt="" width="44" height="37"><span>Desk</span></a>
<nav class="you" aria-label="Desk"><a href="/">To the shop</a>
<form method="post" action="/desk/sign-out"><button class="link">Close the desk</button></form></nav>
</header>`;
}

function footer(desk: boolean): Html {
  if (desk)
    return html`<footer class="foot desk-foot"><p>Changes are made where the customer’s account is written, wherever you sit.</p></footer>`;
  return html`<footer class="foot">
<div><h2>The two of us</h2><p>Hollis Tran fires in Beacon, New York, beside the railroad. Dede Marchetti fires in Ojai, California, under a pepper tree. We met over a kiln that would not light, in 2006, and have disagreed about celadon ever since.</p></div>
<div><h2>Sending</h2><p>Wrapped in paper and straw, never in plastic. If it arrives in pieces, send us a picture of the pieces and we send you another one.</p></div>
<div><h2>Paying</h2><p>Charged once, soon after you order, and never twice. This is a demonstration: no card is asked for and no money moves.</p></div>
<div><h2>Help</h2><ul><li><a href="/orders">Your orders</a></li><li><a href="/cart">Your cart</a></li><li><a href="/desk">Desk, for those who work here</a></li></ul></div>
</footer>`;
}
