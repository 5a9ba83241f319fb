// `npm run sim`: see main.ts. The sources are run as they are, by the runner that the tests use too.
import { runnerImport } from 'vite';

const conditions = ['lanekeeper-source'];
const { module } = await runnerImport(new URL('./main.ts', import.meta.url).pathname, {
  configFile: false,
  logLevel: 'error',
  environments: { inline: { resolve: { conditions, noExternal: [/lanekeeper/] } } },
});
process.exitCode = await module.main(process.argv.slice(2));
