/**
 * Publishes the catalog, as the owner of the table (`DATABASE_URL`). Does nothing outside the data center that
 * feeds `products`; the others receive it from there. Safe to repeat.
 */
import pg from 'pg';
import { connect } from './database/connect.ts';
import { feederOfProducts, ownerUrl } from './database/place.ts';
import { seed } from './database/seed.ts';

const feeder = await feederOfProducts(process.env);
const here = process.env.LANEKEEPER_DC;
if (feeder !== null && here !== feeder) {
  console.log(`Products are published from ${feeder}; ${here} receives them from there.`);
} else {
  const db = connect(new pg.Pool({ connectionString: ownerUrl(process.env), max: 1 }));
  try {
    const written = await seed(db);
    console.log(written === 0 ? 'The catalog is up to date.' : `${written} products published.`);
  } finally {
    await db.destroy();
  }
}
