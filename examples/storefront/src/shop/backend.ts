/** The shop as JSON: `POST /CommitOrder`, `POST /AddToCart`, `GET /Cart` and so on, for frontends and nobody else. */
import type { FastifyInstance } from 'fastify';
import { cookieOf, DeskPass, deskCookie } from '../accounts/desk-pass.ts';
import { type Back, callerOf } from '../operations/back.ts';
import { fieldsOf } from '../web/input.ts';
import { calls } from './calls.ts';
import { directShop } from './direct.ts';
import type { Shop } from './shop.ts';

export function backendRoutes(app: FastifyInstance, back: Back): void {
  const { deskPassphrase } = back.settings;
  const pass = deskPassphrase === null ? null : new DeskPass(deskPassphrase);
  for (const [name, { method, path, lanekeeper, desk }] of Object.entries(calls)) {
    app.route({
      method,
      url: path,
      config: { lanekeeper },
      handler: async (request, reply) => {
        reply.header('cache-control', 'no-store').type('application/json; charset=utf-8');
        // The pages have looked as well; but whoever reaches a backend past them shall not sit at the desk.
        if (desk && !pass?.accepts(cookieOf(request.headers.cookie, deskCookie), Date.now())) {
          return reply.code(401).send({ error: { code: 'SHOP_DESK_SIGN_IN', message: 'The desk is shut.' } });
        }
        const fields = fieldsOf(method === 'GET' ? request.query : request.body);
        const shop = directShop(back, callerOf(request));
        return JSON.stringify(await shop[name as keyof Shop](fields));
      },
    });
  }
}
