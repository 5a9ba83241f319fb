import * as lanekeeperPg from 'lanekeeper/pg';
import { DataTypes, Sequelize } from 'sequelize';
import { ormSuite } from './suite.ts';

ormSuite('Sequelize', ({ url, max }) => {
  const sequelize = new Sequelize(url, {
    dialect: 'postgres',
    dialectModule: lanekeeperPg,
    pool: { max },
    logging: false,
  });
  const orders = sequelize.define(
    'orders',
    {
      id: { type: DataTypes.TEXT, primaryKey: true },
      account_id: { type: DataTypes.TEXT, allowNull: false },
      total: { type: DataTypes.INTEGER, allowNull: false },
    },
    { timestamps: false, tableName: 'orders' },
  );
  return {
    placeOrder: ({ id, account, total }) =>
      sequelize.transaction(async (transaction) => {
        await orders.create({ id, account_id: account, total: 0 }, { transaction });
        await orders.update({ total }, { where: { id }, transaction });
      }),
    totalOf: async (id) => ((await orders.findByPk(id))?.get('total') as number | undefined) ?? null,
    raw: (sql) => sequelize.query(sql),
    close: () => sequelize.close(),
  };
});
