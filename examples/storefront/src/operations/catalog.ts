/** Reads, served by whichever data center the customer is in. */
import { listProducts, readProduct } from '../catalog/products.ts';
import type { Shop } from '../shop/shop.ts';
import { skuPattern, text } from '../web/input.ts';
import type { Back } from './back.ts';

export function catalogOperations({ db }: Back): Pick<Shop, 'products' | 'product'> {
  return {
    products: (fields = {}) =>
      listProducts(db, {
        ...optional('query', text(fields, 'query', 100)),
        ...optional('category', text(fields, 'category', 40)),
      }),
    product: async (fields) => {
      const sku = text(fields, 'sku', 64);
      return sku !== null && skuPattern.test(sku) ? readProduct(db, sku) : null;
    },
  };
}

function optional<Name extends string>(name: Name, value: string | null): { readonly [name in Name]?: string } {
  return value === null ? {} : ({ [name]: value } as { [name in Name]: string });
}
