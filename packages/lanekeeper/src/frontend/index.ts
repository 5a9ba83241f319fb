export type { Backend, BackendInit, CustomerRequest } from './backend.ts';
export { createFrontend, type Frontend, type FrontendOptions } from './frontend.ts';
