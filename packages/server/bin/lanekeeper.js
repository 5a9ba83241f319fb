#!/usr/bin/env node
import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) {
  const { processContext, run } = await import(main.href);
  const exitCode = await run(process.argv.slice(2), processContext());
  if (exitCode !== 0) process.exitCode = exitCode;
} else {
  process.stderr.write('lanekeeper: not built yet. In a checkout run `npm run build` first.\n');
  process.exitCode = 70;
}
