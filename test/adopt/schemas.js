/** How the schemas of npm packages get into a database: by their own migrations. */
import { existsSync, readdirSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

/** In the order in which they are tried; with `missing` where the package is not in `folder`. */
export function installedSchemas(folder) {
  const root = resolve(folder);
  return [
    schema(root, 'medusa', '@medusajs/order', medusa),
    schema(root, 'vendure', '@vendure/core', vendure),
    schema(root, 'graphile-worker', 'graphile-worker', graphileWorker),
    schema(root, 'pg-boss', 'pg-boss', pgBoss),
  ];
}

function schema(root, name, needs, load) {
  return existsSync(join(root, 'node_modules', needs, 'package.json'))
    ? { name, load: (client, url) => load(root, client, url) }
    : { name, missing: needs };
}

const migrationBases = new Set(['@medusajs/framework/mikro-orm/migrations', '@mikro-orm/migrations']);

/** Every module of Medusa brings migrations for MikroORM, which only collect SQL. */
async function medusa(root, client) {
  const require = createRequire(join(root, 'package.json'));
  const original = Module._load;
  class Migration {
    sql = [];
    addSql(text) {
      this.sql.push(typeof text === 'string' ? text : String(text.sql ?? text));
    }
    async execute() {
      return [];
    }
  }
  Module._load = (request, ...rest) => {
    if (migrationBases.has(request)) return { Migration };
    if (request === '@medusajs/framework/utils') return { generatePostgresAlterColummnIfExistStatement: alterExisting };
    return original(request, ...rest);
  };
  try {
    const scope = join(root, 'node_modules/@medusajs');
    for (const name of readdirSync(scope).sort()) {
      const folder = join(scope, name, 'dist/migrations');
      if (!existsSync(folder)) continue;
      const files = readdirSync(folder).filter((file) => /\d{14}.*\.js$/.test(file));
      for (const file of files.sort()) {
        const [Made] = Object.values(require(join(folder, file))).filter((one) => one.prototype instanceof Migration);
        if (Made === undefined) continue;
        const migration = new Made();
        await migration.up();
        for (const text of migration.sql) await client.query(text);
      }
    }
  } finally {
    Module._load = original;
  }
}

/** What the framework would write: the columns that an older version of the table may have had. */
function alterExisting(table, columns, change) {
  const one = (
    column,
  ) => `IF EXISTS (SELECT FROM information_schema.columns WHERE table_name = '${table}' AND column_name = '${column}')
    THEN ALTER TABLE "${table}" ALTER COLUMN "${column}" ${change}; END IF;`;
  return `DO $$ BEGIN ${columns.map(one).join(' ')} END $$;`;
}

async function vendure(root, _client, url) {
  const require = createRequire(join(root, 'package.json'));
  const { preBootstrapConfig } = require('@vendure/core');
  const { DataSource } = createRequire(require.resolve('@vendure/core'))('typeorm');
  const config = await preBootstrapConfig({
    dbConnectionOptions: { type: 'postgres', url, synchronize: true, logging: false },
    apiOptions: { port: 0 },
    authOptions: { tokenMethod: 'bearer' },
    paymentOptions: { paymentMethodHandlers: [] },
    plugins: [],
  });
  const source = new DataSource(config.dbConnectionOptions);
  await source.initialize();
  await source.destroy();
}

async function graphileWorker(root, _client, url) {
  const { runMigrations } = createRequire(join(root, 'package.json'))('graphile-worker');
  await runMigrations({ connectionString: url });
}

async function pgBoss(root, _client, url) {
  const PgBoss = createRequire(join(root, 'package.json'))('pg-boss');
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
  await boss.start();
  await boss.createQueue('orders');
  await boss.stop({ graceful: false, wait: true });
}
