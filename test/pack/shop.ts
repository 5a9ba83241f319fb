/** The reader's own application in its smallest form: notes of customers, written where each customer is at home. */
import Fastify from 'fastify';
import { createLanekeeper } from 'lanekeeper';
import fastifyLanekeeper from 'lanekeeper/fastify';

const lanekeeper = await createLanekeeper();
const pool = lanekeeper.pool({ max: 4 });
const app = Fastify();
await app.register(fastifyLanekeeper, { lanekeeper });

app.get('/health', async () => ({ status: 'PASS' }));

app.post('/register', { config: { lanekeeper: { anywhere: true } } }, async (request) => {
  const account = lanekeeper.id('acc');
  await pool.query('INSERT INTO accounts (id) VALUES ($1)', [account]);
  await request.lanekeeper.signIn(account, { registered: true });
  return { account };
});

app.post<{ Body: { text: string } }>('/notes', async (request) => {
  const { rows } = await pool.query('INSERT INTO notes (account_id, text) VALUES ($1, $2) RETURNING id', [
    request.lanekeeper.account,
    request.body.text,
  ]);
  return { id: rows[0].id, writtenIn: lanekeeper.here };
});

app.get('/notes', async (request) => {
  const { rows } = await pool.query('SELECT id, text FROM notes WHERE account_id = $1', [request.lanekeeper.account]);
  return rows;
});

await app.listen({ host: process.env.HOST ?? '127.0.0.1', port: Number(process.env.PORT ?? 0) });
process.once('SIGTERM', () => {
  app
    .close()
    .then(() => Promise.all([pool.end(), lanekeeper.close()]))
    .catch(() => {
      process.exitCode = 1;
    });
});
