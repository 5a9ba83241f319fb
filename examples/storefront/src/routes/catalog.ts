/** `/`, `/products`, `/products/:sku` */
import type { FastifyInstance } from 'fastify';
import type { Product } from '../catalog/products.ts';
import { homePage, listPage, productPage } from '../views/catalog.ts';
import { sendJson, sendPage, sendProblem, wantsJson } from '../web/answer.ts';
import type { Front } from '../web/front.ts';
import { fieldsOf, text } from '../web/input.ts';
import { notFound } from '../web/problems.ts';
import { visitOf } from '../web/visit.ts';

export function catalogRoutes(app: FastifyInstance, front: Front): void {
  const { assets } = front;

  app.get('/', async (request, reply) => {
    if (wantsJson(request)) return sendJson(reply, await front.shop(request).products());
    const [products, visit] = await Promise.all([front.shop(request).products(), visitOf(front, request)]);
    return sendPage(reply, homePage({ visit, assets }, products));
  });

  app.get('/products', async (request, reply) => {
    const asked = fieldsOf(request.query);
    const [query, category] = [text(asked, 'q', 100), text(asked, 'category', 40)];
    const filter = { ...(query === null ? {} : { query }), ...(category === null ? {} : { category }) };
    if (wantsJson(request)) return sendJson(reply, await front.shop(request).products(filter));
    const [products, visit] = await Promise.all([front.shop(request).products(filter), visitOf(front, request)]);
    return sendPage(reply, listPage({ visit, assets }, { products, ...filter }));
  });

  app.get<{ Params: { sku: string } }>('/products/:sku', async (request, reply) => {
    const shop = front.shop(request);
    const product = await shop.product({ sku: request.params.sku });
    if (product === null) return sendProblem(front, request, reply, notFound('piece'));
    if (wantsJson(request)) return sendJson(reply, product);
    const [all, visit] = await Promise.all([shop.products(), visitOf(front, request)]);
    return sendPage(reply, productPage({ visit, assets }, product, neighbours(all, product)));
  });
}

/** What stands next to it: first of the same shelf, then whatever comes after. */
function neighbours(all: readonly Product[], { sku, category }: Product): Product[] {
  const at = all.findIndex((other) => other.sku === sku);
  const others = [...all.slice(at + 1), ...all.slice(0, Math.max(0, at))];
  const same = others.filter((other) => other.category === category);
  return [...same, ...others.filter((other) => other.category !== category)].slice(0, 4);
}
