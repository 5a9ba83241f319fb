/** What a person writes about tables, their classes and claims. Part of `schema.ts`. */
import { z } from 'zod';
import { dataClasses, durabilities, policies, writePatterns } from '../model/index.ts';
import { dataCenterName, duration, text } from './schema-words.ts';

export const weight = z.int().min(0).max(1_000_000).describe('The heavier wins.');

const safety = {
  durability: z
    .enum(durabilities)
    .optional()
    .describe(
      'When a transaction that writes it is acknowledged: `local` when it is durable here, `remote` when every data center in the sync set has it too. Default: that of its class; `remote` for system-of-record, else `local`.',
    ),
  whenAlone: z
    .enum(['accept', 'refuse'])
    .optional()
    .describe(
      'What happens to `remote` transactions while no peer is in the sync set: `accept` acknowledges them as `local` and shows the risk, `refuse` refuses them. Default: that of its class; accept.',
    ),
  stranded: z
    .enum(['keep', 'merge'])
    .optional()
    .describe(
      'Writes that a failed data center could not hand over, for system-of-record: `keep` them for a person to decide, or `merge` them by themselves where nothing happened to the account since. Default: that of its class; keep.',
    ),
};

export const classes = z
  .partialRecord(z.enum(dataClasses), z.strictObject(safety).describe('One class; a table may differ.'))
  .describe('How safe the tables of each class are. Default: as said at each field.');

export const table = z
  .strictObject({
    class: z
      .enum(dataClasses)
      .describe(
        'What it holds, and so how it is fenced and replicated. system-of-record: belongs to an account, written at its home. system-of-reference: shared; written anywhere and merged by its `policy`, or written by its `feeder` only. read-only and static-content: written by their feeder, only while it publishes. cache: shared, may be lost. session-state: never leaves its data center.',
      ),
    account: text
      .optional()
      .describe(
        'How a row finds its account: a column (account_id), or a path through foreign keys (order_id.account_id: the column order_id refers to a row whose account_id is the account). For system-of-record tables when every account has its own home.',
      ),
    root: z
      .boolean()
      .default(false)
      .describe('True for the one table whose rows are the accounts: deeds are born with its rows. Default: false.'),
    nullAccount: text
      .optional()
      .describe(
        'The account that owns rows whose account is NULL. Default: such rows are refused, because nobody could say where they may be written.',
      ),
    feeder: dataCenterName
      .optional()
      .describe(
        'The one data center that may write it: for `read-only`, `static-content`, and a `system-of-reference` that is not merged.',
      ),
    home: text
      .optional()
      .describe(
        'One home for all its rows, whoever they belong to: a name of `fixed`. Default: none; every row is written in the home of its account.',
      ),
    policy: z
      .enum(policies)
      .optional()
      .describe(
        'Which of two writes to the same row wins everywhere when neither has seen the other: the later (timestamp-weight), that of the heavier data center (locality-weight), that of the heavier application (application-weight), or whichever arrives last (last-man-standing: data centers stay different; for `cache` only, with `allowDivergence`). Default: timestamp-weight for system-of-reference; none for cache, which then does not travel.',
      ),
    weights: z
      .record(dataCenterName, weight)
      .optional()
      .describe('For locality-weight: other weights than `merge.weights`, for this table. Default: those.'),
    allowDivergence: z
      .boolean()
      .default(false)
      .describe('Says that you know that last-man-standing leaves the data centers different. Default: false.'),
    writes: z
      .enum(writePatterns)
      .default('replicated')
      .describe(
        'How a write reaches the other data centers: by PostgreSQL (replicated), by the application that writes to each of them (direct), or through a durable log that is drained into each of them (buffered). direct and buffered are for system-of-reference and cache, never for records. Default: replicated.',
      ),
    copy: z
      .strictObject({
        query: text.describe(
          'What the copy holds, one row per key: SELECT of all columns of the table in their order. $1 is the moment as of which it is made, as timestamptz.',
        ),
        every: duration('How often it is made anew. Duration, default 24h.').default('24h'),
        at: z
          .string()
          .regex(/^([01]\d|2[0-3]):[0-5]\d$/)
          .default('00:00')
          .describe(
            'The moment of the day in UTC as of which it is made, HH:MM; the first of `every`. Default: 00:00.',
          ),
      })
      .optional()
      .describe(
        'For a system-of-reference with a feeder: made anew from other tables as of a moment, for example balances as of midnight. `lanekeeper copies` shows of when each is.',
      ),
    cached: z
      .boolean()
      .default(false)
      .describe(
        'Applications are told which of its rows have changed, wherever they were written, so that they can cache them. Costs a message for each changed row. Default: false.',
      ),
    ...safety,
  })
  .describe('One table of the application.');

export const claim = z
  .strictObject({
    table: text.describe('The table that holds the unique value.'),
    column: text.describe('Its column.'),
    normalise: z
      .enum(['none', 'lower'])
      .default('none')
      .describe('How two values are compared: `none` byte by byte, `lower` without regard to case. Default: none.'),
    mode: z
      .enum(['buckets', 'one-dc'])
      .default('buckets')
      .describe(
        'Who answers: `buckets`: 256 of them, each with a home; `one-dc`: all in `dataCenter`, simpler, and unavailable when that one is. Default: buckets.',
      ),
    dataCenter: dataCenterName.optional().describe('For `one-dc`: the data center where values are registered.'),
  })
  .describe('A value that must be unique in all data centers, for example an e-mail address.');
