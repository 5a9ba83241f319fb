/**
 * What a person writes in `lanekeeper.yaml`: every field with its unit, its default and why it is there. This file says
 * what shape each field has; what must hold between fields is in `resolve.ts`. The JSON Schema that editors use is made
 * from it, so the descriptions here are also the reference documentation.
 */
import { z } from 'zod';
import { type ApproachName, approaches } from '../model/index.ts';
import { buffer, fixed, hooks, merge, reads, rollout } from './schema-sections.ts';
import { claim, classes, table } from './schema-tables.ts';
import { dataCenterName, duration, text } from './schema-words.ts';

const dataCenter = z
  .strictObject({
    place: text.describe('Where it is, for people: a city. Shown by `status` and on the console.'),
    faultDomain: text.describe(
      'What fails together with it: a region, a power grid, a building. Two data centers in one fault domain do not protect each other.',
    ),
    database: text.describe(
      'How to reach its PostgreSQL from here: postgres://host:port/database. Without user and password: users are `roles`, passwords come from the environment (LANEKEEPER_<ROLE>_PASSWORD, or LANEKEEPER_<DC>_<ROLE>_PASSWORD for one data center).',
    ),
    url: text.describe('What customers type to reach it: scheme, host and port, without a path.'),
    edge: text
      .optional()
      .describe(
        'Base URL of its edge for the other edges, as seen from here. Default: `url`. Set it when edges have a private link.',
      ),
    agents: z
      .array(text)
      .default([])
      .describe('Base URLs of its agents, as seen from here. Several may run, one leads. Default: none.'),
    applications: z
      .array(text)
      .default([])
      .describe(
        'Base URLs of its application instances, as seen from here: where its edge sends requests. Default: none.',
      ),
    backends: z
      .array(text)
      .default([])
      .describe(
        'For the approach stateless-frontends: base URLs of its backend instances, as seen from here; frontends call those of the home. Default: none.',
      ),
    capacity: z
      .strictObject({
        limit: z.int().min(1).describe('Requests a second that it can serve.'),
        peak: z.int().min(0).describe('Requests a second that it serves at its busiest, while all are there.'),
      })
      .optional()
      .describe('So that `doctor` can say whether the others could carry its load. Default: unknown.'),
    standbys: z
      .array(
        z
          .strictObject({
            name: text.describe(
              'Name of its physical slot, and its `application_name`: lower-case letters, digits and _.',
            ),
            sync: z
              .boolean()
              .default(false)
              .describe(
                'Whether `remote` commits wait for it as well, while it is there. Then it lacks none of them when it is promoted. Default: false.',
              ),
          })
          .describe('One physical standby.'),
      )
      .default([])
      .describe(
        'Physical standbys of its PostgreSQL, which may be promoted in its place. `doctor` looks whether that can go well, and the agent leaves them the time of a lease to be promoted. Default: none.',
      ),
    number: z
      .int()
      .min(1)
      .optional()
      .describe(
        'From 1 to `stride`: which numbers its sequences draw. Never to be changed once rows exist. Default: its position in this file; write it down before you reorder or remove data centers.',
      ),
  })
  .describe('One site with its own applications and its own PostgreSQL.');

const leases = z
  .strictObject({
    store: z
      .enum(['postgres', 'etcd'])
      .default('postgres')
      .describe(
        'Where leases are kept: `postgres` is one database on a witness, for development and modest needs; `etcd` survives the loss of a minority of its members, for production. Default: postgres.',
      ),
    url: text
      .optional()
      .describe(
        'For `postgres`: connection URL of the witness, postgres://user@host:port/database, without password (LANEKEEPER_WITNESS_PASSWORD). Default user: the agent role.',
      ),
    endpoints: z
      .array(text)
      .optional()
      .describe(
        'For `etcd`: base URLs of its members, as seen from here: https://etcd-1.example:2379. All of them, so that it is reached while one is down.',
      ),
    user: text
      .optional()
      .describe(
        'For `etcd`: its user; the password is LANEKEEPER_WITNESS_PASSWORD. Default: none, for an etcd that trusts certificates or the network.',
      ),
    tls: z
      .strictObject({
        ca: text
          .optional()
          .describe('File with the authorities that vouch for its members (PEM). Default: those of Node.js.'),
        cert: text.optional().describe('File with the certificate to show (PEM), with `key`. Default: none.'),
        key: text.optional().describe('File with the private key of `cert` (PEM).'),
      })
      .default({})
      .describe('For `etcd` with https: files, relative to this one.'),
    faultDomain: text
      .default('witness')
      .describe(
        "What fails together with the store; `none` when it has no place of its own. With two data centers, automatic failover needs one that is no data center's. Default: witness.",
      ),
    ttl: duration(
      'How long a data center may write after it last proved its lease. Duration, default 6s. Longer rides out slower stores, shorter makes takeover faster.',
    ).default('6s'),
    renewEvery: duration(
      'How often the lease is renewed. Duration, default 2s. Less than half of `ttl`, so that one lost renewal costs nothing.',
    ).default('2s'),
    skew: duration(
      'The most by which two clocks may drift apart within one `ttl`. Duration, default 1s. A successor waits `ttl` + `skew`.',
    ).default('1s'),
  })
  .describe('The right of a data center to accept writes at all.');

const failover = z
  .strictObject({
    mode: z
      .enum(['automatic', 'manual'])
      .default('automatic')
      .describe(
        'Who decides that a data center takes over from another: `automatic` once the lease store lets it, `manual` only a person, who is shown first what would be lost. Default: automatic.',
      ),
    rejoin: z
      .enum(['automatic', 'manual'])
      .default('automatic')
      .describe(
        'Whether a data center that was taken over comes back by itself. Its accounts stay where they are until somebody hands them back. Default: automatic.',
      ),
    keepStranded: duration(
      'How long the rows of stranded transactions are kept after somebody decided about them; who decided what, when and why stays. Duration, default 30d.',
    ).default('30d'),
  })
  .describe('What happens when a data center fails.');

const durability = z
  .strictObject({
    peerTimeout: duration(
      'A peer that is silent for so long leaves the sync set: `remote` commits wait for it at most this long. Duration, default 2s.',
    ).default('2s'),
  })
  .describe('How long a data center waits for another one before it goes on alone.');

const roles = z
  .strictObject({
    owner: text
      .default('lanekeeper_owner')
      .describe('Owns the application tables and the schema `lanekeeper`. Default: lanekeeper_owner.'),
    application: text
      .default('lanekeeper_application')
      .describe(
        'What the application connects as: reads and writes rows, owns nothing, so that it cannot pass the fence. Default: lanekeeper_application.',
      ),
    agent: text
      .default('lanekeeper_agent')
      .describe(
        'What the agent connects as: pg_create_subscription, pg_monitor, member of the owner. Default: lanekeeper_agent.',
      ),
    replication: text
      .default('lanekeeper_replication')
      .describe(
        'What other data centers subscribe as: LOGIN REPLICATION, reads the published tables. Default: lanekeeper_replication.',
      ),
  })
  .describe('Names of the PostgreSQL roles, the same in every data center.');

const moves = z
  .strictObject({
    dwell: duration(
      'An account stays at least this long where it moved to, so that two sessions cannot play ping-pong. Duration, default 30s.',
    ).default('30s'),
    perHour: z
      .int()
      .min(0)
      .max(3600)
      .default(12)
      .describe(
        'Sign-ins move one account at most this often in an hour; then the customer is routed instead. Default: 12.',
      ),
    signInWait: duration(
      'A sign-in waits this long for the move of an idle account, then routes. Duration, default and maximum 300ms.',
    ).default('300ms'),
    drain: duration(
      'Requests in flight get this long to finish before a move is given up. Duration, default 5s.',
    ).default('5s'),
  })
  .describe('When accounts move between data centers.');

const jwk = z.looseObject({ kid: z.string() });

const sessions = z
  .strictObject({
    cookie: z
      .string()
      .regex(/^[a-z][a-z0-9_-]{0,31}$/)
      .default('lanekeeper')
      .describe(
        'Name of the session cookie, without the prefix (__Secure- or __Host-) that it gets. Default: lanekeeper.',
      ),
    domain: text
      .optional()
      .describe(
        'Parent domain that the host names of all data centers share, for example shop.example: the cookie is then recognised in each. Default: none; sessions are handed over by a one-time token.',
      ),
    maxAge: duration('How long a session lasts without a visit. Duration, default 30d.').default('30d'),
    stickiness: duration(
      'An account counts as in use this long after a sign-in or a write; only idle accounts are moved by a sign-in. Duration, default 30m.',
    ).default('30m'),
    concurrent: z
      .enum(['allow', 'block'])
      .default('allow')
      .describe(
        'Whether one account may be signed in from several browsers at once: `block` refuses the second until the first has signed out or was idle for `stickiness`. Default: allow.',
      ),
    keys: z
      .union([text, z.array(jwk)])
      .default([])
      .describe(
        'The public keys of all data centers: a file with a JWK set, relative to this file, or the keys themselves. `lanekeeper keys new` makes them. Private keys are never written here.',
      ),
  })
  .describe('The signed session cookie that every data center recognises.');

const accounts = z
  .strictObject({
    existing: dataCenterName
      .optional()
      .describe('The data center that owns accounts which existed before Lanekeeper did. Default: the first.'),
  })
  .describe('The accounts that are there already.');

export const schema = z
  .strictObject({
    cluster: z
      .string()
      .regex(/^[a-z][a-z0-9_-]{0,30}$/)
      .describe(
        'Name of the whole: the audience of its tokens. Two clusters that share keys by mistake still refuse each other.',
      ),
    approach: z
      .enum(Object.keys(approaches) as [ApproachName, ...ApproachName[]])
      .describe(
        'How many data centers share the work. One home for all accounts: active-passive, active-active-apps. A home for each account: mostly-active-active, full-active-active, stateless-frontends.',
      ),
    homes: z
      .enum(['single', 'per-account'])
      .optional()
      .describe(
        'For stateless-frontends, which works with either: one home for all accounts, or a home for each. Default: that of the approach; per-account.',
      ),
    dataCenters: z
      .record(dataCenterName, dataCenter)
      .describe('By short name: lower-case letters and digits, at most 15, for example ny.'),
    leases,
    failover: failover.prefault({}),
    durability: durability.prefault({}),
    classes: classes.default({}),
    roles: roles.prefault({}),
    accounts: accounts.prefault({}),
    tables: z
      .record(text, table)
      .describe(
        'By name; a name without a schema is in `public`. A table that is neither here nor in `ignore` turns `status` red.',
      ),
    ignore: z
      .array(text)
      .default([])
      .describe('Tables that Lanekeeper leaves alone; * matches within a name: public.kysely_*. Default: none.'),
    claims: z
      .record(z.string().regex(/^[a-z][a-z0-9_]{0,31}$/), claim)
      .default({})
      .describe('By name: values that must be unique in all data centers. Default: none.'),
    fixed,
    merge: merge.prefault({}),
    reads: reads.prefault({}),
    buffer: buffer.prefault({}),
    hooks: hooks.prefault({}),
    rollout: rollout.prefault({}),
    moves: moves.prefault({}),
    sessions: sessions.prefault({}),
    enforce: z
      .enum(['enforce', 'observe'])
      .default('enforce')
      .describe(
        '`observe` only counts and logs what would have been refused, while there is one data center. Default: enforce.',
      ),
    stride: z
      .int()
      .min(2)
      .max(64)
      .default(8)
      .describe(
        'Sequences step by this much, so that every data center draws its own numbers. The most data centers there can ever be. Fixed for the life of the cluster. Default: 8.',
      ),
  })
  .describe(
    'The configuration of one data center of a Lanekeeper cluster. It is never replicated: a new one is taken by one data center at a time.',
  );

export { dataCenterNamePattern } from './schema-words.ts';

/** What a person writes. */
export type WrittenConfiguration = z.input<typeof schema>;

/** The same with the defaults that do not depend on other fields. */
export type FilledConfiguration = z.output<typeof schema>;

/** For `lanekeeper.config.ts`-style files: gives the editor the types, and nothing else. */
export function defineConfiguration(written: WrittenConfiguration): WrittenConfiguration {
  return written;
}

/** JSON Schema (2020-12) of what a person writes, for editors: `lanekeeper config schema`. */
export function configurationSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return { $schema, title: 'lanekeeper.yaml', ...rest };
}
