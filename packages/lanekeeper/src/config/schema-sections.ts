/** What a person writes about shared rows, reads, buffers, hooks and roll-outs. Part of `schema.ts`. */
import { z } from 'zod';
import { weight } from './schema-tables.ts';
import { dataCenterName, duration, text } from './schema-words.ts';

export const fixed = z
  .record(z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/), dataCenterName.describe('The data center it starts in.'))
  .default({})
  .describe(
    'Homes that belong to no account, by name, each with the data center it starts in: `baskets: ny` for tables with `home: baskets`, routes with that home, and singletons of that name. They move and fail over like accounts. Default: none.',
  );

export const merge = z
  .strictObject({
    weights: z
      .record(dataCenterName, weight)
      .default({})
      .describe(
        'For locality-weight: the heaviest data center wins. Default: 100 each; the smaller `number` wins between equals.',
      ),
    applications: z
      .record(z.string().regex(/^[a-z][a-z0-9_-]{0,31}$/), weight)
      .default({})
      .describe(
        'For application-weight: the heaviest application wins. An application says who it is (`application` of the SDK, or SET lanekeeper.application); whoever says nothing weighs less than all. Default: none.',
      ),
    keepTombstones: duration(
      'How long a deleted shared row is remembered row by row. Later what is known of it is that it is older than others. Duration, default 7d.',
    ).default('7d'),
    keepConflicts: duration('How long conflicts are kept for `lanekeeper conflicts`. Duration, default 30d.').default(
      '30d',
    ),
  })
  .describe('How writes to the same shared row in two data centers become one.');

export const reads = z
  .strictObject({
    bookmarkWait: duration(
      'A read elsewhere than at the home waits this long for what the same session wrote last; then it goes to the home. Duration, default 300ms; 0ms does not wait.',
    ).default('300ms'),
  })
  .describe('Reading what one has written.');

export const buffer = z
  .strictObject({
    store: z
      .enum(['postgres', 'nats'])
      .default('postgres')
      .describe(
        'Where writes to `buffered` tables wait: a table of the local PostgreSQL, or a stream of NATS JetStream. Default: postgres.',
      ),
    urls: z
      .array(text)
      .default([])
      .describe('For `nats`: its servers, as seen from here: nats://10.1.0.9:4222. Default: none.'),
    user: text.optional().describe('For `nats`: its user; the password is LANEKEEPER_BUFFER_PASSWORD. Default: none.'),
    replicas: z
      .union([z.literal(1), z.literal(3), z.literal(5)])
      .default(1)
      .describe('For `nats`: how many servers have a write before it is acknowledged. Default: 1.'),
    retry: duration(
      'A write that a data center cannot take is tried again for so long; then it is set aside, and those behind it go on. Duration, default 1m.',
    ).default('1m'),
  })
  .describe('The log behind tables with `writes: buffered`.');

export const hooks = z
  .strictObject({
    onTakeover: text
      .optional()
      .describe(
        'Is POSTed to when this data center has taken over from another one, for autoscalers. Default: nobody.',
      ),
    onConflict: text
      .optional()
      .describe('Is POSTed to when two writes to one shared row met here and one lost. Default: nobody.'),
  })
  .describe(
    'URLs that are told what happened, as JSON, again until they answer 2xx, signed with LANEKEEPER_HOOK_SECRET where it is set.',
  );

export const rollout = z
  .strictObject({
    bake: duration(
      'A new configuration or version is taken by the next data center only when the one before has been healthy with it for so long. Duration, default 10m; 0ms does not wait.',
    ).default('10m'),
    order: z
      .array(dataCenterName)
      .default([])
      .describe('In which order data centers take a new configuration. Default: as they stand in this file.'),
  })
  .describe('Configuration and code go to one data center at a time.');
