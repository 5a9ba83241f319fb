#!/usr/bin/env node
/**
 * `npm run bench -- NAME [options]`: runs bench/NAME/bench.js. Every figure is a ratio against a baseline of the same
 * run; the numbers themselves belong to this machine and moment.
 */
import { readdirSync } from 'node:fs';

const [name, ...args] = process.argv.slice(2);
const known = readdirSync(new URL('.', import.meta.url), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'results')
  .map((entry) => entry.name);

if (!name || !known.includes(name)) {
  console.error(`Usage: npm run bench -- NAME [options]\nNAME is one of: ${known.join(', ')}`);
  process.exit(2);
}
const { run } = await import(new URL(`./${name}/bench.js`, import.meta.url).href);
await run(args);
