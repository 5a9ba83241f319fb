/** The load of a drill: customers who shop through the edges. `customer.ts` one of them · `browser.ts` HTTP · `dns.ts` where they are led · `load.ts` all. */
export { Browser, outcomeOf } from './browser.ts';
export type { Customer } from './customer.ts';
export { type Load, type LoadOptions, prepareLoad } from './load.ts';
