/** A process with one singleton, to be killed: `node singleton-process.js NAME`. Writes its turns into the table `turns`, guarded. */
import { createLanekeeper } from 'lanekeeper';

const lanekeeper = await createLanekeeper({ config: JSON.parse(process.env.TEST_CONFIGURATION) });
const pool = lanekeeper.pool({ max: 2 });
lanekeeper.singleton(
  process.argv[2],
  async (run) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await run.guard(client);
      await client.query('INSERT INTO turns (number, instance) VALUES ($1, $2)', [
        String(run.number),
        lanekeeper.instance,
      ]);
      await client.query('COMMIT');
    } finally {
      client.release(true);
    }
  },
  { pauseMs: 20 },
);
