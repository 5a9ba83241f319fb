import type { OpenStore } from './suite.ts';

export const openPlainPg: OpenStore = ({ lanekeeper, max }) => {
  const pool = lanekeeper.pool({ max });
  return {
    async placeOrder({ id, account, total }) {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        await client.query('INSERT INTO orders (id, account_id, total) VALUES ($1, $2, 0)', [id, account]);
        await client.query('UPDATE orders SET total = $2 WHERE id = $1', [id, total]);
        await client.query('COMMIT');
      } catch (error) {
        await client.query('ROLLBACK');
        throw error;
      } finally {
        client.release();
      }
    },
    async totalOf(id) {
      const { rows } = await pool.query<{ total: number }>('SELECT total FROM orders WHERE id = $1', [id]);
      return rows[0]?.total ?? null;
    },
    raw: (sql) => pool.query(sql),
    close: () => pool.end(),
  };
};
