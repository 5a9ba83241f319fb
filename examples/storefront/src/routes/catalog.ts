/** `/`, `/products`, `/products/:sku`: reads, served by whichever data center the customer is in. */
import type { FastifyInstance } from 'fastify';
import { listProducts, type Product, type ProductFilter, readProduct } from '../catalog/products.ts';
import type { Shop } from '../shop.ts';
import { homePage, listPage, productPage } from '../views/catalog.ts';
import { sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import { fieldsOf, skuPattern, text } from '../web/input.ts';
import { notFound } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

export function catalogRoutes(app: FastifyInstance, shop: Shop): void {
  const { db, assets } = shop;

  app.get('/', async (request, reply) => {
    const products = await listProducts(db);
    if (wantsJson(request)) return sendJson(reply, products);
    return sendPage(reply, homePage({ visit: await visitOf(shop, request), assets }, products));
  });

  app.get('/products', async (request, reply) => {
    const asked = fieldsOf(request.query);
    const filter: ProductFilter = {
      ...optional('query', text(asked, 'q', 100)),
      ...optional('category', text(asked, 'category', 40)),
    };
    const products = await listProducts(db, filter);
    if (wantsJson(request)) return sendJson(reply, products);
    return sendPage(reply, listPage({ visit: await visitOf(shop, request), assets }, { products, ...filter }));
  });

  app.get<{ Params: { sku: string } }>('/products/:sku', async (request, reply) => {
    const { sku } = request.params;
    const product = skuPattern.test(sku) ? await readProduct(db, sku) : null;
    if (product === null) return sendProblem(shop, request, reply, notFound('piece'));
    if (wantsJson(request)) return sendJson(reply, product);
    const related = neighbours(await listProducts(db), product);
    return sendPage(reply, productPage({ visit: await visitOf(shop, request), assets }, product, related));
  });
}

/** What stands next to it: first of the same shelf, then whatever comes after. */
function neighbours(all: readonly Product[], { sku, category }: Product): Product[] {
  const at = all.findIndex((other) => other.sku === sku);
  const others = [...all.slice(at + 1), ...all.slice(0, Math.max(0, at))];
  const same = others.filter((other) => other.category === category);
  return [...same, ...others.filter((other) => other.category !== category)].slice(0, 4);
}

function optional<Name extends string>(name: Name, value: string | null): { readonly [name in Name]?: string } {
  return value === null ? {} : ({ [name]: value } as { [name in Name]: string });
}
