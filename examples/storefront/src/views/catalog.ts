import { categories } from '../catalog/goods.ts';
import type { Product } from '../catalog/products.ts';
import { type Html, html, money } from '../web/html.ts';
import { layout, type View } from './layout.ts';
import { picture, quantityField, shelf } from './parts.ts';

export function homePage(view: View, products: readonly Product[]): Html {
  const { assets } = view;
  const kilns = assets.get('kilns.svg');
  return layout(view, {
    title: '',
    description: 'Mugs, bowls, jugs and lamps, thrown and fired in Beacon, New York and Ojai, California.',
    class: 'home',
    main: html`<section class="hero">
<div class="words">
<h1>Stoneware from two kilns, three thousand miles apart</h1>
<p>Hollis throws in Beacon, Dede in Ojai. Every pot is made by one of four hands and signed underneath, so you know whom to blame.</p>
<p><a class="button" href="#drinking">See what came out in October</a></p>
</div>
<p class="kilns"><img src="${kilns.path}" alt="${kilns.title}" width="960" height="600" fetchpriority="high"></p>
</section>
${categories.map(({ slug, name, line }) => {
  const shown = products.filter((product) => product.category === slug);
  return shown.length === 0
    ? null
    : html`<section class="category" id="${slug}" aria-labelledby="${slug}-name">
<header><h2 id="${slug}-name">${name}</h2><p>${line}</p></header>
${shelf(assets, shown, { lead: true })}
</section>`;
})}`,
  });
}

export type Listing = {
  readonly products: readonly Product[];
  readonly query?: string;
  readonly category?: string;
};

export function listPage(view: View, { products, query, category }: Listing): Html {
  const found = categories.find(({ slug }) => slug === category);
  const count = products.length === 1 ? '1 thing' : `${products.length} things`;
  const title = query ? `“${query}”` : (found?.name ?? 'Everything');
  const line = query ? `${count} found${found ? ` in ${found.name}` : ''}` : (found?.line ?? `${count}, all of them`);
  return layout(view, {
    title,
    ...(query === undefined ? {} : { query }),
    ...(category === undefined ? {} : { category }),
    main: html`<section class="category">
<header><h1>${title}</h1><p role="status">${line}</p></header>
${
  products.length > 0
    ? shelf(view.assets, products, { eager: 4 })
    : html`<div class="nothing"><p>Nothing of that name came out of either kiln. We look through names and descriptions; a shorter word may help.</p>
<p><a class="button" href="/products">See everything</a></p></div>`
}
</section>`,
  });
}

export function productPage(view: View, product: Product, related: readonly Product[]): Html {
  const { assets } = view;
  const category = categories.find(({ slug }) => slug === product.category);
  return layout(view, {
    title: product.name,
    description: product.summary,
    category: product.category,
    main: html`<article class="product">
${picture(assets, product.sku, { size: 720, described: true, eager: true })}
<div class="about">
<nav aria-label="Where you are"><a href="/products?category=${product.category}">${category?.name ?? 'Shop'}</a></nav>
<h1>${product.name}</h1>
<p class="lead">${product.summary}</p>
<p class="price">${money(product.price)}</p>
<form class="buy" method="post" action="/cart" data-once>
<input type="hidden" name="sku" value="${product.sku}">
${quantityField('quantity', 'quantity', 1, 'How many', 1)}
<button class="button" type="submit">Add to cart</button>
</form>
<p class="stock">${product.stock}</p>
<p>${product.description}</p>
<dl class="facts"><div><dt>Size</dt><dd>${product.size}</dd></div><div><dt>Fired in</dt><dd>${
      product.madeIn === 'Ojai' ? 'Ojai, California' : product.madeIn === 'Beacon' ? 'Beacon, New York' : product.madeIn
    }</dd></div><div><dt>Care</dt><dd>Dishwasher, top rack. Microwave, within reason.</dd></div></dl>
</div>
</article>
${
  related.length === 0
    ? null
    : html`<section class="category" aria-labelledby="related"><header><h2 id="related">Next to it on the shelf</h2></header>${shelf(assets, related)}</section>`
}`,
  });
}
