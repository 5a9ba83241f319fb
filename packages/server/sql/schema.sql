-- The schema lanekeeper after all files of this folder, as PostgreSQL 18 shows it. Written by a test; do not edit:
--   npx vitest run test/service/schema-dump.test.ts -u
-- What apply generates from a configuration (constants, triggers on tables of the application, grants) is not in it.

-- ── Tables ──────────────────────────────────────────────────────────────────────────
CREATE TABLE lanekeeper.acceptance (
  account text NOT NULL,
  term bigint NOT NULL,
  counter bigint NOT NULL,
  dc text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT acceptance_pkey PRIMARY KEY (account, term, counter)
);

CREATE UNLOGGED TABLE lanekeeper.activity (
  account text NOT NULL,
  at timestamp with time zone NOT NULL,
  CONSTRAINT activity_pkey PRIMARY KEY (account)
);

CREATE TABLE lanekeeper.adoption (
  account text NOT NULL,
  term bigint NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT adoption_pkey PRIMARY KEY (account, term)
);

CREATE UNLOGGED TABLE lanekeeper.agent (
  instance text NOT NULL,
  url text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT agent_pkey PRIMARY KEY (instance)
);

CREATE TABLE lanekeeper.announced (
  peer text NOT NULL,
  at timestamp with time zone NOT NULL,
  CONSTRAINT announced_pkey PRIMARY KEY (peer)
);

CREATE TABLE lanekeeper.buffer_aside (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  log text NOT NULL,
  "position" text NOT NULL,
  target text NOT NULL,
  relation text NOT NULL,
  key text[] NOT NULL,
  image jsonb,
  stamp bigint NOT NULL,
  dc text NOT NULL,
  number bigint NOT NULL,
  written_at timestamp with time zone NOT NULL,
  state text DEFAULT 'retrying'::text NOT NULL,
  sqlstate text NOT NULL,
  message text NOT NULL,
  attempts integer DEFAULT 1 NOT NULL,
  first_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  next_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  decided_by text,
  reason text,
  CONSTRAINT buffer_aside_log_target_position_key UNIQUE (log, target, "position"),
  CONSTRAINT buffer_aside_pkey PRIMARY KEY (id),
  CONSTRAINT buffer_aside_state_check CHECK ((state = ANY (ARRAY['retrying'::text, 'poison'::text, 'discarded'::text])))
);

CREATE TABLE lanekeeper.buffer_log (
  number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  pattern text NOT NULL,
  relation text NOT NULL,
  key text[] NOT NULL,
  image jsonb,
  stamp bigint NOT NULL,
  made_in text,
  made_as bigint,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT buffer_log_pattern_check CHECK ((pattern = ANY (ARRAY['direct'::text, 'buffered'::text]))),
  CONSTRAINT buffer_log_pkey PRIMARY KEY (number)
);

CREATE TABLE lanekeeper.buffer_progress (
  log text NOT NULL,
  target text NOT NULL,
  drained bigint DEFAULT 0 NOT NULL,
  waiting bigint,
  oldest_at timestamp with time zone,
  problem text,
  seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT buffer_progress_pkey PRIMARY KEY (log, target)
);

CREATE TABLE lanekeeper.buffer_waiting (
  target text NOT NULL,
  number bigint NOT NULL,
  not_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
  CONSTRAINT buffer_waiting_pkey PRIMARY KEY (target, number)
);

CREATE TABLE lanekeeper.change (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  shape text,
  columns text[],
  vals text[],
  application text,
  at timestamp with time zone NOT NULL
) WITH (autovacuum_vacuum_threshold=10000, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_insert_threshold=-1);

CREATE TABLE lanekeeper.claim (
  name text NOT NULL,
  value text NOT NULL,
  account text NOT NULL,
  confirmed boolean DEFAULT false NOT NULL,
  claimed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT claim_pkey PRIMARY KEY (name, value)
);

CREATE TABLE lanekeeper.conflict (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  seen_in text NOT NULL,
  relation text NOT NULL,
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  policy text NOT NULL,
  era bigint NOT NULL,
  winner_dc text NOT NULL,
  winner_application text,
  winner_at timestamp with time zone NOT NULL,
  winner_stamp bigint[] NOT NULL,
  winner_columns text[],
  winner text[],
  loser_dc text NOT NULL,
  loser_application text,
  loser_at timestamp with time zone NOT NULL,
  loser_stamp bigint[] NOT NULL,
  loser_columns text[],
  loser text[],
  CONSTRAINT conflict_pkey PRIMARY KEY (id)
);

CREATE TABLE lanekeeper.conflict_count (
  subscription text NOT NULL,
  seen bigint NOT NULL,
  unanswered bigint DEFAULT 0 NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT conflict_count_pkey PRIMARY KEY (subscription)
);

CREATE TABLE lanekeeper.copy (
  relation text NOT NULL,
  as_of timestamp with time zone NOT NULL,
  due timestamp with time zone NOT NULL,
  made_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  made_in text NOT NULL,
  rows bigint NOT NULL,
  changed bigint NOT NULL,
  complete boolean NOT NULL,
  missing jsonb DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT copy_pkey PRIMARY KEY (relation)
);

CREATE TABLE lanekeeper.deed (
  account text NOT NULL,
  home text NOT NULL,
  term bigint NOT NULL,
  counter bigint NOT NULL,
  giver text,
  digest text,
  given_at timestamp with time zone,
  CONSTRAINT deed_account_check CHECK ((account <> ''::text)),
  CONSTRAINT deed_counter_check CHECK (((counter >= 0) AND (counter <= '1000000000000'::bigint))),
  CONSTRAINT deed_pkey PRIMARY KEY (account),
  CONSTRAINT deed_term_check CHECK (((term >= 1) AND (term <= '1000000000000'::bigint)))
);

CREATE UNLOGGED TABLE lanekeeper.drain (
  account text NOT NULL,
  move bigint DEFAULT nextval('lanekeeper.move'::regclass) NOT NULL,
  to_dc text NOT NULL,
  hard boolean DEFAULT false NOT NULL,
  until timestamp with time zone NOT NULL,
  CONSTRAINT drain_move_key UNIQUE (move),
  CONSTRAINT drain_pkey PRIMARY KEY (account)
);

CREATE TABLE lanekeeper.fill (
  id text NOT NULL,
  last_key text[],
  rows bigint DEFAULT 0 NOT NULL,
  started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  done_at timestamp with time zone,
  CONSTRAINT fill_pkey PRIMARY KEY (id)
);

CREATE TABLE lanekeeper.floor (
  relation text NOT NULL,
  dc text NOT NULL,
  era bigint NOT NULL,
  stamp bigint[] NOT NULL,
  CONSTRAINT floor_pkey PRIMARY KEY (relation, dc, era)
);

CREATE TABLE lanekeeper.frozen (
  publisher text NOT NULL,
  term bigint NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  homed pg_lsn,
  rest pg_lsn,
  lost boolean DEFAULT false NOT NULL,
  CONSTRAINT frozen_pkey PRIMARY KEY (publisher)
);

CREATE TABLE lanekeeper.generation (
  one boolean DEFAULT true NOT NULL,
  generation integer NOT NULL,
  CONSTRAINT generation_generation_check CHECK ((generation >= 1)),
  CONSTRAINT generation_one_check CHECK (one),
  CONSTRAINT generation_pkey PRIMARY KEY (one)
);

CREATE TABLE lanekeeper.heard (
  publisher text NOT NULL,
  stream text NOT NULL,
  origin text NOT NULL,
  place pg_lsn NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT heard_pkey PRIMARY KEY (publisher, stream),
  CONSTRAINT heard_stream_check CHECK ((stream = ANY (ARRAY['homed'::text, 'rest'::text])))
);

CREATE TABLE lanekeeper.homed_as (
  dc text NOT NULL,
  homes text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT homed_as_homes_check CHECK ((homes = ANY (ARRAY['single'::text, 'per-account'::text]))),
  CONSTRAINT homed_as_pkey PRIMARY KEY (dc)
);

CREATE TABLE lanekeeper.hook (
  kind text NOT NULL,
  key text NOT NULL,
  body json NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  attempts integer DEFAULT 0 NOT NULL,
  next_at timestamp with time zone DEFAULT clock_timestamp(),
  heard_at timestamp with time zone,
  CONSTRAINT hook_pkey PRIMARY KEY (kind, key)
);

CREATE TABLE lanekeeper.incident (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  kind text NOT NULL,
  detail jsonb DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT incident_pkey PRIMARY KEY (id)
);

CREATE TABLE lanekeeper.installation (
  one boolean DEFAULT true NOT NULL,
  cluster text NOT NULL,
  dc text NOT NULL,
  stride integer NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT installation_one_check CHECK (one),
  CONSTRAINT installation_pkey PRIMARY KEY (one)
);

CREATE UNLOGGED TABLE lanekeeper.instance (
  instance text NOT NULL,
  pid integer NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT instance_pkey PRIMARY KEY (instance)
);

CREATE TABLE lanekeeper.joining (
  dc text NOT NULL,
  source text NOT NULL,
  id text NOT NULL,
  stage text NOT NULL,
  detail jsonb DEFAULT '{}'::jsonb NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT joining_pkey PRIMARY KEY (dc)
);

CREATE TABLE lanekeeper.layout (
  relation text NOT NULL,
  era bigint NOT NULL,
  shape text NOT NULL,
  policy text NOT NULL,
  dcs bigint[] NOT NULL,
  applications text[] NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT layout_pkey PRIMARY KEY (relation, era)
);

CREATE TABLE lanekeeper.leader (
  one boolean DEFAULT true NOT NULL,
  instance text NOT NULL,
  url text NOT NULL,
  pid integer NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  lease_holder text,
  lease_revision bigint,
  CONSTRAINT leader_one_check CHECK (one),
  CONSTRAINT leader_pkey PRIMARY KEY (one)
);

CREATE TABLE lanekeeper.lineage (
  home text NOT NULL,
  term bigint NOT NULL,
  resolved text NOT NULL,
  applied bigint NOT NULL,
  path bigint[] NOT NULL,
  CONSTRAINT lineage_pkey PRIMARY KEY (home, term)
);

CREATE TABLE lanekeeper.member (
  dc text NOT NULL,
  since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT member_pkey PRIMARY KEY (dc)
);

CREATE TABLE lanekeeper.merge_heard (
  dc text NOT NULL,
  mark bigint NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  snapshot pg_snapshot DEFAULT pg_current_snapshot() NOT NULL,
  CONSTRAINT merge_heard_pkey PRIMARY KEY (dc, mark)
);

CREATE TABLE lanekeeper.merge_mark (
  dc text NOT NULL,
  mark bigint NOT NULL,
  seen jsonb NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT merge_mark_pkey PRIMARY KEY (dc)
);

CREATE TABLE lanekeeper.merge_pending (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  shape text,
  columns text[],
  vals text[],
  application text,
  at timestamp with time zone NOT NULL,
  reason text NOT NULL,
  sqlstate text,
  tries integer DEFAULT 0 NOT NULL,
  since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT merge_pending_pkey PRIMARY KEY (id)
);

CREATE TABLE lanekeeper.migration (
  number integer NOT NULL,
  file text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT migration_pkey PRIMARY KEY (number)
);

CREATE TABLE lanekeeper.move_log (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  account text NOT NULL,
  what text NOT NULL,
  peer text NOT NULL,
  term bigint NOT NULL,
  counter bigint NOT NULL,
  detail jsonb DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT move_log_pkey PRIMARY KEY (id),
  CONSTRAINT move_log_what_check CHECK ((what = ANY (ARRAY['given'::text, 'accepted'::text, 'declined'::text])))
);

CREATE UNLOGGED TABLE lanekeeper.observation (
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  sqlstate text NOT NULL,
  relation text,
  account text,
  message text NOT NULL
);

CREATE TABLE lanekeeper.outcome (
  account text NOT NULL,
  request_id text NOT NULL,
  result jsonb,
  dc text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT outcome_pkey PRIMARY KEY (account, request_id)
);

CREATE UNLOGGED TABLE lanekeeper.parting (
  xid xid8 NOT NULL,
  relation text NOT NULL,
  key text NOT NULL,
  account text,
  CONSTRAINT parting_pkey PRIMARY KEY (xid, relation, key)
);

CREATE TABLE lanekeeper.paused (
  subscription text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT paused_pkey PRIMARY KEY (subscription)
);

CREATE TABLE lanekeeper.piece (
  id text NOT NULL,
  kind text NOT NULL,
  relation text,
  hash text NOT NULL,
  removal text NOT NULL,
  fingerprint text,
  applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT piece_pkey PRIMARY KEY (id)
);

CREATE TABLE lanekeeper.promotion (
  timeline integer NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT promotion_pkey PRIMARY KEY (timeline)
);

CREATE TABLE lanekeeper.publishing (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  relations text[] NOT NULL,
  xid xid8,
  roles text[],
  opened_by text DEFAULT SESSION_USER NOT NULL,
  application text DEFAULT current_setting('application_name'::text) NOT NULL,
  reason text,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  until timestamp with time zone NOT NULL,
  ended_at timestamp with time zone,
  CONSTRAINT publishing_check CHECK (((xid IS NULL) <> (roles IS NULL))),
  CONSTRAINT publishing_pkey PRIMARY KEY (id),
  CONSTRAINT publishing_relations_check CHECK ((cardinality(relations) > 0))
);

CREATE TABLE lanekeeper.rejoining (
  term bigint NOT NULL,
  generation integer NOT NULL,
  stage text NOT NULL,
  detail jsonb DEFAULT '{}'::jsonb NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT rejoining_pkey PRIMARY KEY (term)
);

CREATE TABLE lanekeeper.relay (
  peer text NOT NULL,
  publisher text NOT NULL,
  stream text NOT NULL,
  origin text NOT NULL,
  complete_from pg_lsn NOT NULL,
  place pg_lsn NOT NULL,
  merged pg_snapshot NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT relay_pkey PRIMARY KEY (peer, publisher, stream),
  CONSTRAINT relay_stream_check CHECK ((stream = ANY (ARRAY['homed'::text, 'rest'::text])))
);

CREATE TABLE lanekeeper.repair (
  dc text NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  relation text NOT NULL,
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  columns text[],
  vals text[],
  CONSTRAINT repair_pkey PRIMARY KEY (dc, id)
);

CREATE TABLE lanekeeper.rollout (
  digest text NOT NULL,
  version text NOT NULL,
  since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  healthy_since timestamp with time zone,
  was_healthy boolean DEFAULT false NOT NULL,
  CONSTRAINT rollout_pkey PRIMARY KEY (digest, version)
);

CREATE TABLE lanekeeper.singleton (
  name text NOT NULL,
  everywhere boolean NOT NULL,
  number bigint NOT NULL,
  instance text NOT NULL,
  since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT singleton_pkey PRIMARY KEY (name, everywhere)
);

CREATE TABLE lanekeeper.spread (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint NOT NULL,
  dc text NOT NULL,
  number bigint NOT NULL,
  removed boolean NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT spread_pkey PRIMARY KEY (relation, key)
);

CREATE TABLE lanekeeper.stranded (
  dc text NOT NULL,
  generation bigint NOT NULL,
  end_lsn pg_lsn NOT NULL,
  sequence integer NOT NULL,
  xid bigint NOT NULL,
  committed_at timestamp with time zone NOT NULL,
  term bigint NOT NULL,
  account text,
  unresolved text,
  relation text NOT NULL,
  kind text NOT NULL,
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  old_key text[],
  base_from text,
  base_columns text[],
  base text[],
  image_columns text[],
  image text[],
  unchanged text[] DEFAULT '{}'::text[] NOT NULL,
  recorded_in text NOT NULL,
  recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  state text DEFAULT 'open'::text NOT NULL,
  decided_by text,
  decided_at timestamp with time zone,
  decided_in text,
  reason text,
  purged_at timestamp with time zone,
  CONSTRAINT stranded_base_from_check CHECK ((base_from = ANY (ARRAY['none'::text, 'stream'::text, 'home'::text, 'chain'::text]))),
  CONSTRAINT stranded_check CHECK (((state = 'open'::text) = (decided_at IS NULL))),
  CONSTRAINT stranded_kind_check CHECK ((kind = ANY (ARRAY['insert'::text, 'update'::text, 'delete'::text]))),
  CONSTRAINT stranded_pkey PRIMARY KEY (dc, generation, end_lsn, sequence),
  CONSTRAINT stranded_state_check CHECK ((state = ANY (ARRAY['open'::text, 'merged'::text, 'discarded'::text])))
);

CREATE TABLE lanekeeper.stream (
  subscription text NOT NULL,
  connection text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT stream_pkey PRIMARY KEY (subscription)
);

CREATE TABLE lanekeeper.subscribed (
  relation text NOT NULL,
  publisher text NOT NULL,
  subscriber text NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT subscribed_pkey PRIMARY KEY (relation, publisher, subscriber)
);

CREATE TABLE lanekeeper.succession (
  term bigint NOT NULL,
  kind text NOT NULL,
  from_dc text NOT NULL,
  to_dc text NOT NULL,
  undoes bigint,
  cuts jsonb DEFAULT '{}'::jsonb NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT succession_kind_check CHECK ((kind = ANY (ARRAY['take'::text, 'switch'::text, 'return'::text]))),
  CONSTRAINT succession_pkey PRIMARY KEY (term)
);

CREATE UNLOGGED TABLE lanekeeper.sync_peer (
  slot name NOT NULL,
  CONSTRAINT sync_peer_pkey PRIMARY KEY (slot)
);

CREATE TABLE lanekeeper.takeover (
  term bigint NOT NULL,
  snapshot pg_snapshot NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT takeover_pkey PRIMARY KEY (term)
);

CREATE TABLE lanekeeper.thawed (
  publisher text NOT NULL,
  term bigint NOT NULL,
  homed pg_lsn,
  rest pg_lsn,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT thawed_pkey PRIMARY KEY (publisher)
);

CREATE UNLOGGED TABLE lanekeeper.tick (
  xid xid8 NOT NULL,
  durability integer DEFAULT 0 NOT NULL
) WITH (autovacuum_vacuum_threshold=10000, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_insert_threshold=-1);

CREATE TABLE lanekeeper.version (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  own_era bigint DEFAULT 0 NOT NULL,
  own bigint DEFAULT 0 NOT NULL,
  deleted boolean DEFAULT false NOT NULL,
  application text,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT version_pkey PRIMARY KEY (relation, key)
) WITH (fillfactor=85);

CREATE UNLOGGED TABLE lanekeeper.written (
  xid xid8 NOT NULL,
  part integer NOT NULL,
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  shape text,
  columns text[],
  vals text[],
  application text,
  at timestamp with time zone NOT NULL,
  opens boolean NOT NULL,
  CONSTRAINT written_pkey PRIMARY KEY (xid, part, relation, key)
) WITH (autovacuum_vacuum_threshold=10000, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_insert_threshold=-1);

-- ── Comments ────────────────────────────────────────────────────────────────────────
COMMENT ON TABLE lanekeeper.acceptance IS 'A new home writes this before any data; without it a given account is written nowhere.';
COMMENT ON TABLE lanekeeper.activity IS 'When an account was last used here: sign-ins and writes, to the minute.';
COMMENT ON TABLE lanekeeper.adoption IS 'Accounts that have been written since a succession moved them. Replicated; the deed stays as it is, so that handing back is one row.';
COMMENT ON TABLE lanekeeper.agent IS 'Agents of this data center; alive while `at` is young. One of them leads.';
COMMENT ON TABLE lanekeeper.announced IS 'Data centers that were sent what was written here before they read the merge log, and since when they read it.';
COMMENT ON TABLE lanekeeper.buffer_aside IS 'Writes that a data center refused. They are tried again for a while, then wait for a person; nobody waits behind them.';
COMMENT ON TABLE lanekeeper.buffer_log IS 'Writes that not every data center has yet. Without an image: a removal.';
COMMENT ON COLUMN lanekeeper.buffer_log.made_in IS 'Where the write was made, and its number there, when it is not one of this data center''s own: sent again.';
COMMENT ON TABLE lanekeeper.buffer_progress IS 'How far the agent of this data center has drained its logs into each data center, as it last saw it.';
COMMENT ON TABLE lanekeeper.buffer_waiting IS 'Which data centers still lack a write of the log. `not_before`: until then the application that writes it directly is at work on it.';
COMMENT ON TABLE lanekeeper.change IS 'The merge log. Every row is deleted by the transaction that writes it, so the table is always empty; only the insert is published. Without columns: the row is deleted. A relation of the schema lanekeeper: news from one data center to the others.';
COMMENT ON TABLE lanekeeper.claim IS 'A value that must be unique in all data centers, and the account that holds it. Belongs to one of 256 buckets, each with a deed.';
COMMENT ON TABLE lanekeeper.conflict IS 'Two writes to one shared row, neither of which had seen the other, and which of them stays. Only here: every data center in which the two met has a row of its own, with the same two stamps.';
COMMENT ON COLUMN lanekeeper.conflict.winner_at IS 'When it was written, by the clock of where it was.';
COMMENT ON COLUMN lanekeeper.conflict.winner IS 'The row as text, its columns named by `winner_columns`; null when it was deleted. Likewise `loser`.';
COMMENT ON TABLE lanekeeper.conflict_count IS 'Conflicts that replication counted, and how many of them no clean `verify` has answered for. PostgreSQL forgets its counters in a crash.';
COMMENT ON TABLE lanekeeper.copy IS 'Of when each copy of other tables is. Written in the transaction that makes the copy and replicated in the same stream, so that both always fit.';
COMMENT ON COLUMN lanekeeper.copy.due IS 'The latest moment of the schedule that this copy serves.';
COMMENT ON COLUMN lanekeeper.copy.missing IS 'Whose writes before that moment may be missing, and why: data center → reason.';
COMMENT ON TABLE lanekeeper.deed IS 'One row per account: the data center that may write its rows (R1). Replicated in the stream of the rows themselves (R2).';
COMMENT ON COLUMN lanekeeper.deed.giver IS 'The data center that gave the account away; null when it was born at its home.';
COMMENT ON COLUMN lanekeeper.deed.digest IS 'Digest of the account''s rows at the moment it was given; null when there is nothing to compare.';
COMMENT ON TABLE lanekeeper.drain IS 'Accounts about to move. Soft: applications hold new requests. Hard: the fence refuses transactions that have not begun to write.';
COMMENT ON TABLE lanekeeper.fill IS 'How far rows that existed before Lanekeeper have been given deeds and claims; a fill that was interrupted goes on after last_key.';
COMMENT ON TABLE lanekeeper.floor IS 'Of the stamps of the deleted rows that a data center has forgotten, the largest of each place, by era. A row without a version begins there: above all of them, and known to have known them.';
COMMENT ON TABLE lanekeeper.frozen IS 'Data centers from which nothing is applied here: taken over, or we were. Nobody enables their subscriptions but a rejoin.';
COMMENT ON COLUMN lanekeeper.frozen.homed IS 'How far that log was applied here when its stream had ended, or was replayed from another data center since; null until it is known.';
COMMENT ON COLUMN lanekeeper.frozen.lost IS 'What is missing here can be had from nobody: this data center has to be seeded again.';
COMMENT ON TABLE lanekeeper.heard IS 'Up to where everything of another log is here, as its worker said: also where nothing of it had to be written, which leaves no progress. A worker that ends forgets it.';
COMMENT ON TABLE lanekeeper.homed_as IS 'Data centers that have changed between one home for all accounts and one for each: what they go by now.';
COMMENT ON TABLE lanekeeper.incident IS 'What should not have happened and was kept from doing harm. Nothing is skipped silently (R5).';
COMMENT ON TABLE lanekeeper.installation IS 'Whose database this is. A configuration of another cluster or data center, or with another stride, is not applied to it.';
COMMENT ON TABLE lanekeeper.instance IS 'Application instances that answer drains; alive while their session holds its advisory lock.';
COMMENT ON TABLE lanekeeper.joining IS 'How far a `join` has come: the same row in the data center that is seeded and in the one it is seeded from. Where the two do not agree, it begins anew. Never replicated.';
COMMENT ON TABLE lanekeeper.layout IS 'What the places of a stamp mean, by era. An era is n × 2³² + a hash of the shape: declared in two data centers alike, it is one. Travels with every change.';
COMMENT ON COLUMN lanekeeper.layout.shape IS '`policy|{dcs}|{applications}`, the heaviest first.';
COMMENT ON TABLE lanekeeper.leader IS 'The agent that leads: where it is reached, and what it was last granted, so that its successor goes on without a gap.';
COMMENT ON TABLE lanekeeper.lineage IS 'The fold of all successions: where an account is written whose deed names `home` in `term`. Deeds that no succession touched are not listed. Never replicated.';
COMMENT ON COLUMN lanekeeper.lineage.applied IS 'The term of the last succession that applied: with the deed''s counter, the present epoch.';
COMMENT ON COLUMN lanekeeper.lineage.path IS 'The terms of all successions that applied, in order: a hand-back looks for the one that it undoes.';
COMMENT ON TABLE lanekeeper.member IS 'Data centers that take part, this one included, as `join` and `leave` have written it. Never replicated. Empty before the first `apply` of this version: then all take part.';
COMMENT ON TABLE lanekeeper.merge_heard IS 'When each mark came by here, and what was there by then.';
COMMENT ON TABLE lanekeeper.merge_mark IS 'How far each data center has merged what the others wrote: their latest marks that it has seen while nothing was pending.';
COMMENT ON TABLE lanekeeper.merge_pending IS 'Changes that arrived while their row was locked, or that could not be written. The agent finishes them.';
COMMENT ON COLUMN lanekeeper.merge_pending.sqlstate IS 'Null: the row was locked.';
COMMENT ON TABLE lanekeeper.move_log IS 'Moves that left or reached this data center: committed with the move, kept for a week, what the budget of moves counts.';
COMMENT ON TABLE lanekeeper.observation IS 'With `enforce: observe`: what the fence would have refused.';
COMMENT ON TABLE lanekeeper.outcome IS 'The result of a request, committed with its work, so that any data center can answer: did it go through?';
COMMENT ON TABLE lanekeeper.parting IS 'The account of a parent row deleted in this transaction, for the children that a cascade deletes after it. The agent empties it.';
COMMENT ON TABLE lanekeeper.paused IS 'Subscriptions that a join has disabled for a moment, while it holds the lock of those who change streams. Never replicated.';
COMMENT ON TABLE lanekeeper.piece IS 'Functions, triggers and publications that apply generated from the configuration.';
COMMENT ON COLUMN lanekeeper.piece.hash IS 'Of the SQL that created it: another hash in the configuration means it is replaced.';
COMMENT ON COLUMN lanekeeper.piece.removal IS 'The SQL that takes it away, also when nothing declares it any more.';
COMMENT ON COLUMN lanekeeper.piece.fingerprint IS 'Of what PostgreSQL held after it was created: another one now means that somebody changed it by hand.';
COMMENT ON TABLE lanekeeper.promotion IS 'Timelines that this database is known to have been on. Never replicated to other data centers; its own standbys have it.';
COMMENT ON TABLE lanekeeper.publishing IS 'Who published what, and when: one transaction, or a time for roles. Only here: never replicated.';
COMMENT ON COLUMN lanekeeper.publishing.xid IS 'The one transaction that may write; null for a time.';
COMMENT ON COLUMN lanekeeper.publishing.roles IS 'Who may write meanwhile, by the role that logged in; null for a transaction.';
COMMENT ON TABLE lanekeeper.rejoining IS 'How far this data center has come back from being taken over in `term`; its stages are in src/agent/rejoin.ts. Never replicated.';
COMMENT ON TABLE lanekeeper.relay IS 'What the relay slot for `peer` is known to hold: every transaction of `publisher` that was applied here under `origin` and ends, in the publisher''s log, beyond `complete_from`. Written before the slot is moved. No row: nothing is known.';
COMMENT ON COLUMN lanekeeper.relay.place IS 'In the log of this data center: the slot begins there or before. One that begins later was made by somebody else.';
COMMENT ON COLUMN lanekeeper.relay.merged IS 'Versions of shared rows that it sees are known to `peer`, as far as they came from `publisher`.';
COMMENT ON TABLE lanekeeper.repair IS 'A row as its home has it, or (without columns) that there is none. Written and deleted in one transaction, so it is always empty; what reads the stream puts the row in place.';
COMMENT ON TABLE lanekeeper.rollout IS 'Configurations and versions that agents of this data center have led with: since when, and since when without interruption in good health.';
COMMENT ON TABLE lanekeeper.singleton IS 'Who ran a singleton last in this data center, and its number. Not replicated: in the cluster, numbers start from the epoch of the fixed home, which no two data centers share.';
COMMENT ON TABLE lanekeeper.spread IS 'The version of the last write to each row of a table with `writes: direct` or `buffered`, as this data center has it.';
COMMENT ON COLUMN lanekeeper.spread.stamp IS 'Microseconds since 1970 by the clock of the data center that took the write, and always more than it had seen for this key.';
COMMENT ON TABLE lanekeeper.stranded IS 'Changes committed in a data center beyond the cut at which it was taken over, one row each. Written at the successor before anything is undone, replicated, decided by a declaration or a person.';
COMMENT ON COLUMN lanekeeper.stranded.end_lsn IS 'The end of the source transaction''s commit in that data center''s log: with dc and generation, the transaction''s name.';
COMMENT ON COLUMN lanekeeper.stranded.xid IS 'Of the source transaction. Negative: its copy, in the log of another data center that had applied it, where it was read. 0: there was no log left.';
COMMENT ON COLUMN lanekeeper.stranded.term IS 'Of the succession that took over.';
COMMENT ON COLUMN lanekeeper.stranded.unresolved IS 'Why the account is not known.';
COMMENT ON COLUMN lanekeeper.stranded.old_key IS 'When the change moved the row to another key.';
COMMENT ON COLUMN lanekeeper.stranded.base IS 'The row before the change. `base_from`: none (there was none), stream (it was in the log), home (the successor''s row, not written since the takeover), chain (an earlier stranded change left it so); null: only partly known.';
COMMENT ON COLUMN lanekeeper.stranded.unchanged IS 'Columns with large values that the change left alone and nobody knew.';
COMMENT ON COLUMN lanekeeper.stranded.purged_at IS 'Keys and rows are removed so long after the decision; who decided what, when and why stays.';
COMMENT ON TABLE lanekeeper.stream IS 'Subscriptions of this data center. PostgreSQL shows a connection string only to superusers; its salted hash here says whether the configured one is still the same.';
COMMENT ON TABLE lanekeeper.subscribed IS 'Written by a data center when its subscription has a table; arriving here, in the stream, it says that what is written here from now on arrives there.';
COMMENT ON TABLE lanekeeper.succession IS 'One row moves the home of everything a data center holds. Every fence reads this table, so that a lock on it waits for all writers.';
COMMENT ON TABLE lanekeeper.sync_peer IS 'Slots of the data centers that applications wait for themselves, since this server may not be told to.';
COMMENT ON TABLE lanekeeper.takeover IS 'What was visible here when a data center was taken over: what is newer was written since. Never replicated.';
COMMENT ON TABLE lanekeeper.thawed IS 'How far the log of a data center that was taken over was here when its streams went on: a succession that tells of it may arrive later. Never replicated.';
COMMENT ON COLUMN lanekeeper.thawed.term IS 'Nobody ends these streams on account of this succession, or of an earlier one, any more.';
COMMENT ON TABLE lanekeeper.tick IS 'One row per transaction that passed the fence, to carry the check at commit. The agent empties it.';
COMMENT ON COLUMN lanekeeper.tick.durability IS '0: local. 1: remote, accepted while alone. 2: remote, refused while alone.';
COMMENT ON TABLE lanekeeper.version IS 'The stamp of every shared row that was written since it is merged, deleted ones included until they are purged.';
COMMENT ON COLUMN lanekeeper.version.root IS 'The stamp of an earlier era on which the first write of this one was made.';
COMMENT ON COLUMN lanekeeper.version.own IS 'The highest count of this data center in a stamp that it made here, in the era `own_era`. One whose write lost is not used again: the same twice would pass off either write as known to who made the other.';
COMMENT ON COLUMN lanekeeper.version.at IS 'When the row was written, in the data center where it was.';
COMMENT ON TABLE lanekeeper.written IS 'What transactions under way have written to shared rows and not sent yet: the last of each row. Empty once they have ended.';
COMMENT ON COLUMN lanekeeper.written.part IS 'A thousand rows of a transaction. Apart from each other, since a transaction meets what it has deleted itself wherever it looks.';
COMMENT ON COLUMN lanekeeper.written.opens IS 'The first of its part: with it comes the trigger that sends the part at the end of the transaction.';

-- ── Sequences ───────────────────────────────────────────────────────────────────────
CREATE SEQUENCE lanekeeper.accepted_timeline AS integer INCREMENT BY 1 START WITH 1;
CREATE UNLOGGED SEQUENCE lanekeeper.hard_drains AS bigint INCREMENT BY 1 START WITH 1;
CREATE UNLOGGED SEQUENCE lanekeeper.lease AS bigint INCREMENT BY 1 START WITH 1;
CREATE UNLOGGED SEQUENCE lanekeeper.lease_length AS bigint INCREMENT BY 1 START WITH 1;
CREATE UNLOGGED SEQUENCE lanekeeper.lease_uptime AS bigint INCREMENT BY 1 START WITH 1;
CREATE SEQUENCE lanekeeper.move AS bigint INCREMENT BY 1 START WITH 1;
CREATE UNLOGGED SEQUENCE lanekeeper.sync_awaited AS bigint INCREMENT BY 1 START WITH 1;
CREATE UNLOGGED SEQUENCE lanekeeper.sync_members AS bigint INCREMENT BY 1 START WITH 1;
CREATE SEQUENCE lanekeeper.sync_view AS bigint INCREMENT BY 1 START WITH 1;
CREATE SEQUENCE lanekeeper.view AS bigint INCREMENT BY 1 START WITH 1;

-- ── Indexes ─────────────────────────────────────────────────────────────────────────
CREATE INDEX buffer_log_key ON lanekeeper.buffer_log USING btree (relation, key, stamp);
CREATE INDEX buffer_waiting_number ON lanekeeper.buffer_waiting USING btree (number);
CREATE INDEX claim_unconfirmed ON lanekeeper.claim USING btree (claimed_at) WHERE (NOT confirmed);
CREATE INDEX conflict_at ON lanekeeper.conflict USING btree (at);
CREATE INDEX conflict_row ON lanekeeper.conflict USING btree (relation, key);
CREATE INDEX deed_given_at ON lanekeeper.deed USING btree (given_at) WHERE (giver IS NOT NULL);
CREATE INDEX hook_next ON lanekeeper.hook USING btree (kind, next_at) WHERE (next_at IS NOT NULL);
CREATE INDEX merge_pending_row ON lanekeeper.merge_pending USING btree (relation, key);
CREATE INDEX move_log_account ON lanekeeper.move_log USING btree (account, at);
CREATE INDEX move_log_at ON lanekeeper.move_log USING btree (at);
CREATE INDEX outcome_request_id ON lanekeeper.outcome USING btree (request_id);
CREATE INDEX publishing_open ON lanekeeper.publishing USING btree (until) WHERE ((xid IS NULL) AND (ended_at IS NULL));
CREATE INDEX publishing_xid ON lanekeeper.publishing USING btree (xid) WHERE (xid IS NOT NULL);
CREATE INDEX spread_removed ON lanekeeper.spread USING btree (at) WHERE removed;
CREATE INDEX stranded_account ON lanekeeper.stranded USING btree (account, end_lsn);
CREATE INDEX stranded_old_row ON lanekeeper.stranded USING hash (old_key);
CREATE INDEX stranded_open ON lanekeeper.stranded USING btree (dc, generation, end_lsn) WHERE (state = 'open'::text);
CREATE INDEX stranded_row ON lanekeeper.stranded USING hash (key);
CREATE INDEX version_deleted ON lanekeeper.version USING btree (relation) WHERE deleted;

-- ── Functions ───────────────────────────────────────────────────────────────────────
CREATE OR REPLACE FUNCTION lanekeeper.accept(given_account text, expected_term bigint, expected_counter bigint, OUT kind text, OUT digest_here text, OUT digest_given text)
 RETURNS record
 LANGUAGE sql
AS $function$
  SELECT * FROM lanekeeper.accept(given_account, expected_term, expected_counter, false)
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.accept(given_account text, expected_term bigint, expected_counter bigint, compared boolean, OUT kind text, OUT digest_here text, OUT digest_given text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  d lanekeeper.deed;
  p record;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  SELECT * INTO p FROM lanekeeper.present(d);
  IF d.home <> lanekeeper.dc() OR p.term <> d.term OR d.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
    RETURN;
  ELSIF p.accepted THEN
    kind := 'already';
    RETURN;
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
    RETURN;
  END IF;
  digest_given := d.digest;
  IF d.digest IS NOT NULL AND NOT compared THEN
    digest_here := lanekeeper.digest(given_account);
    IF digest_here IS DISTINCT FROM d.digest THEN
      kind := 'digest-differs';
      INSERT INTO lanekeeper.incident (kind, detail) VALUES ('digest-differs',
        json_build_object('account', given_account, 'giver', d.giver, 'term', d.term, 'counter', d.counter, 'here', digest_here, 'given', d.digest));
      RETURN;
    END IF;
  END IF;
  kind := 'accepted';
  INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES (given_account, expected_term, expected_counter, lanekeeper.dc());
  DELETE FROM lanekeeper.acceptance a WHERE a.account = given_account AND (a.term, a.counter) < (expected_term, expected_counter);
  PERFORM lanekeeper.tick();
  PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', d.home, 'term', d.term, 'counter', d.counter)::text);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.adopt(adopted_account text, adopted_term bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF NOT EXISTS (SELECT FROM lanekeeper.adoption a WHERE a.account = adopted_account AND a.term = adopted_term) THEN
    IF NOT lanekeeper.landed(adopted_term) THEN
      PERFORM lanekeeper.refuse('LK004', format('account %s is arriving in %s and has not been accepted yet', adopted_account, lanekeeper.dc()),
        NULL, adopted_account, lanekeeper.dc(), adopted_term, NULL, 'Try again in a moment.');
    END IF;
    INSERT INTO lanekeeper.adoption (account, term) VALUES (adopted_account, adopted_term) ON CONFLICT DO NOTHING;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.announce(of_relation text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, of_key text[] DEFAULT NULL::text[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  c lanekeeper.change;
  sent bigint := 0;
BEGIN
  FOR c IN SELECT * FROM lanekeeper.changes_of(of_relation, since, of_key) LOOP
    -- Beside those that this transaction may have written itself.
    PERFORM lanekeeper.let_wait((-1 - sent / 1000)::integer, c);
    sent := sent + 1;
    IF sent % 1000 = 0 THEN
      PERFORM lanekeeper.send_waiting((-sent / 1000)::integer);
    END IF;
  END LOOP;
  PERFORM lanekeeper.send_waiting((-1 - sent / 1000)::integer);
  RETURN sent;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.apply_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '10ms'
AS $function$
DECLARE
  arrivals lanekeeper.arrival[];
  left_over integer[];
  number integer;
BEGIN
  IF current_setting('lanekeeper.pinned', true) IS DISTINCT FROM 'yes' THEN
    PERFORM lanekeeper.pin_settings();
  END IF;
  IF array_ndims(NEW.stamp) = 2 THEN
    arrivals := lanekeeper.arrivals_of(NEW);
    BEGIN
      left_over := lanekeeper.merge_batch(NEW, arrivals);
    EXCEPTION WHEN others THEN
      IF left(SQLSTATE, 2) IN ('53', '58', 'XX') THEN
        RAISE;
      END IF;
      -- Whichever it was: each by itself.
      left_over := ARRAY(SELECT generate_subscripts(arrivals, 1));
    END;
    FOREACH number IN ARRAY left_over LOOP
      PERFORM lanekeeper.merge_one(lanekeeper.change_of(NEW, arrivals[number]));
    END LOOP;
    RETURN NULL;
  END IF;
  PERFORM lanekeeper.merge_one(NEW);
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.apply_repair()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET xmloption TO 'content'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
  present lanekeeper.deed;
  sent_term bigint;
  sent_counter bigint;
BEGIN
  IF NEW.relation = 'lanekeeper.deed' THEN
    SELECT * INTO present FROM lanekeeper.deed WHERE account = NEW.key[1];
    sent_term := NEW.vals[array_position(NEW.columns, 'term')];
    sent_counter := NEW.vals[array_position(NEW.columns, 'counter')];
    IF present.account IS NOT NULL AND (sent_term IS NULL OR (present.term, present.counter) > (sent_term, sent_counter)) THEN
      IF sent_term IS NULL OR present.home = NEW.dc THEN
        INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-regress', json_build_object('present', present, 'repair', to_json(NEW.vals)));
      END IF;
      RETURN NEW;
    END IF;
  END IF;
  BEGIN
    EXECUTE lanekeeper.row_statement('delete', NEW.relation, NEW.key_columns, NEW.key, NULL, NULL);
    IF NEW.columns IS NOT NULL THEN
      EXECUTE lanekeeper.row_statement('insert', NEW.relation, NEW.key_columns, NEW.key, NEW.columns, NEW.vals);
    END IF;
  EXCEPTION WHEN others THEN
    -- Locks, deadlocks, resources and cancellation: the worker tries again.
    IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
      RAISE;
    END IF;
    INSERT INTO lanekeeper.incident (kind, detail) VALUES ('repair-failed',
      json_build_object('from', NEW.dc, 'relation', NEW.relation, 'key', NEW.key, 'sqlstate', SQLSTATE, 'message', SQLERRM));
    RETURN NEW;
  END;
  IF sent_term IS NOT NULL THEN
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', NEW.key[1],
      'home', NEW.vals[array_position(NEW.columns, 'home')], 'term', sent_term, 'counter', sent_counter)::text);
  END IF;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.arrivals_of(c lanekeeper.change)
 RETURNS lanekeeper.arrival[]
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
DECLARE
  last integer := array_length(c.stamp, 2);
  of_key integer := cardinality(c.vals) / array_length(c.stamp, 1) - coalesce(cardinality(c.columns), 0);
BEGIN
  RETURN (SELECT array_agg(ROW(i, ARRAY(SELECT unnest(c.vals[i:i][:of_key])), ARRAY(SELECT unnest(c.stamp[i:i][:last - 1])),
      CASE WHEN c.root IS NOT NULL THEN ARRAY(SELECT unnest(c.root[i:i])) END,
      timestamptz 'epoch' + make_interval(secs => c.stamp[i][last] / 1000000) + make_interval(secs => c.stamp[i][last] % 1000000 / 1e6))::lanekeeper.arrival ORDER BY i)
    FROM generate_series(1, array_length(c.stamp, 1)) i);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.arrived(of_dc text)
 RETURNS pg_lsn
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  subscription oid;
  confirmed pg_lsn;
  applied pg_lsn;
BEGIN
  SELECT s.oid INTO subscription FROM pg_subscription s
    WHERE s.subname = 'lanekeeper_' || of_dc || '_homed' AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
  IF subscription IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT w.latest_end_lsn INTO confirmed FROM pg_stat_get_subscription(subscription) w WHERE w.relid IS NULL AND w.leader_pid IS NULL;
  IF has_function_privilege('pg_replication_origin_progress(text, boolean)', 'EXECUTE') THEN
    applied := pg_replication_origin_progress('pg_' || subscription, false);
  END IF;
  RETURN greatest(confirmed, applied);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.await_acceptance()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  WHILE (SELECT a.last_value FROM lanekeeper.accepted_timeline a) <> lanekeeper.timeline()
      AND NOT EXISTS (SELECT FROM lanekeeper.joining j WHERE j.dc = lanekeeper.dc())
      AND coalesce((SELECT r.stage IN ('readmitted', 'done') FROM lanekeeper.rejoining r JOIN lanekeeper.generation USING (generation)
        ORDER BY r.term DESC LIMIT 1), true) LOOP
    IF clock_timestamp() > patience THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('this database of %s was promoted, and has no lease yet: it takes nothing from other data centers', lanekeeper.dc()),
        HINT = 'It goes on when its agent has been granted one. If it is refused, `lanekeeper status` says why.';
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.await_peers(within_ms integer, OUT view bigint, OUT reached boolean)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  position pg_lsn := pg_current_wal_flush_lsn();
  until timestamptz := clock_timestamp() + within_ms * interval '1 millisecond';
  first bigint := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
BEGIN
  LOOP
    SELECT count(*) = coalesce(pg_sequence_last_value('lanekeeper.sync_awaited'::regclass), 1) - 1
        AND coalesce(bool_and(coalesce(s.confirmed_flush_lsn >= position, false)), false)
      INTO reached FROM lanekeeper.sync_peer p LEFT JOIN pg_replication_slots s ON s.slot_name = p.slot;
    view := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
    EXIT WHEN reached OR view <> first OR clock_timestamp() > until;
    PERFORM pg_sleep(0.002);
  END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.batches_are_read()
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
AS $function$
BEGIN
  RETURN NOT EXISTS (SELECT FROM unnest(lanekeeper.dcs()) d WHERE d <> lanekeeper.dc()
    AND NOT EXISTS (SELECT FROM lanekeeper.merge_mark m WHERE m.dc = d AND m.seen ? 'lanekeeper.batches'));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.bear(born_account text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  INSERT INTO lanekeeper.deed (account, home, term, counter)
    VALUES (born_account, lanekeeper.dc(), coalesce(pg_sequence_last_value('lanekeeper.view'::regclass), 1), 0)
    ON CONFLICT (account) DO NOTHING;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.begin_drain(drained_account text, destination text, until_ms bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  number bigint;
BEGIN
  INSERT INTO lanekeeper.drain AS d (account, to_dc, until) VALUES (drained_account, destination, to_timestamp(until_ms / 1000.0))
    ON CONFLICT (account) DO UPDATE SET to_dc = excluded.to_dc, until = excluded.until, hard = false, move = nextval('lanekeeper.move')
      WHERE d.until < clock_timestamp() -- left behind by an agent that died
    RETURNING d.move INTO number;
  IF number IS NOT NULL THEN
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'drain', 'move', number, 'account', drained_account, 'to', destination, 'untilMs', until_ms)::text);
  END IF;
  RETURN number;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.begin_publishing(tables text[], for_roles text[], for_ms bigint, why text DEFAULT NULL::text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  unknown text;
  number bigint;
BEGIN
  IF for_ms IS NULL OR NOT for_ms BETWEEN 1000 AND 86400000 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'publishing lasts between one second and one day';
  END IF;
  SELECT r INTO unknown FROM unnest(for_roles) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) LIMIT 1;
  IF FOUND OR coalesce(cardinality(for_roles), 0) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no role %s to publish as', unknown);
  END IF;
  INSERT INTO lanekeeper.publishing (relations, roles, until, reason)
    VALUES (lanekeeper.publishable(tables), for_roles, clock_timestamp() + make_interval(secs => for_ms / 1000.0), why)
    RETURNING id INTO number;
  RETURN number;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.buffer_ack(of_target text, numbers bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  -- Whoever empties the last place of a write must see that it is the last one.
  PERFORM FROM lanekeeper.buffer_log l WHERE l.number = ANY (numbers) ORDER BY l.number FOR UPDATE;
  DELETE FROM lanekeeper.buffer_waiting w WHERE w.target = of_target AND w.number = ANY (numbers);
  DELETE FROM lanekeeper.buffer_log l WHERE l.number = ANY (numbers)
    AND NOT EXISTS (SELECT FROM lanekeeper.buffer_waiting w WHERE w.number = l.number);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.buffer_append(of_relation text, given jsonb, removing boolean, OUT of_number bigint, OUT of_stamp bigint)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  w record;
BEGIN
  PERFORM lanekeeper.require_pattern(of_relation, 'buffered');
  SELECT * INTO w FROM lanekeeper.spread_image(of_relation, given, removing);
  of_stamp := lanekeeper.spread_stamp(of_relation, w.of_key);
  INSERT INTO lanekeeper.buffer_log (pattern, relation, key, image, stamp) VALUES ('buffered', of_relation, w.of_key, w.image, of_stamp)
    RETURNING number INTO of_number;
  INSERT INTO lanekeeper.buffer_waiting (target, number) SELECT t, of_number FROM unnest(lanekeeper.dcs()) t;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.buffer_lag()
 RETURNS TABLE(pattern text, target text, waiting bigint, oldest_at timestamp with time zone)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT l.pattern, w.target, count(*), min(l.at) FROM lanekeeper.buffer_waiting w JOIN lanekeeper.buffer_log l USING (number) GROUP BY 1, 2
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.buffer_prepare(of_relation text, given jsonb, removing boolean, OUT of_key text[], OUT image jsonb, OUT of_stamp bigint)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.require_pattern(of_relation, 'buffered');
  SELECT i.of_key, i.image INTO of_key, image FROM lanekeeper.spread_image(of_relation, given, removing) i;
  of_stamp := lanekeeper.spread_stamp(of_relation, of_key);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.buffer_resend(of_relation text, of_target text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  numbers bigint[];
BEGIN
  IF lanekeeper.spread_pattern(of_relation) IS NULL OR of_target <> ALL (lanekeeper.dcs()) OR of_target = lanekeeper.dc() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is not sent from %s to %s', of_relation, lanekeeper.dc(), of_target);
  END IF;
  WITH sent AS (
    INSERT INTO lanekeeper.buffer_log (pattern, relation, key, image, stamp, made_in, made_as)
      SELECT lanekeeper.spread_pattern(of_relation), of_relation, coalesce(r.of_key, s.key), r.image, coalesce(s.stamp, 0), coalesce(s.dc, ''), coalesce(s.number, 0)
        FROM lanekeeper.spread_rows(of_relation) r FULL JOIN (SELECT * FROM lanekeeper.spread WHERE relation = of_relation) s ON s.key = r.of_key
        WHERE r.of_key IS NOT NULL OR s.removed
      RETURNING number
  ), waiting AS (
    INSERT INTO lanekeeper.buffer_waiting (target, number) SELECT of_target, number FROM sent
  )
  SELECT array_agg(number) INTO numbers FROM sent;
  RETURN coalesce(cardinality(numbers), 0);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.change_of(c lanekeeper.change, a lanekeeper.arrival)
 RETURNS lanekeeper.change
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
BEGIN
  RETURN ROW(substr(c.relation, 7), a.key, a.stamp, a.root, c.shape, c.columns,
    CASE WHEN c.columns IS NOT NULL THEN ARRAY(SELECT unnest(c.vals[a.number:a.number][cardinality(a.key) + 1:])) END, c.application, a.at)::lanekeeper.change;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.changes_of(of_relation text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, of_key text[] DEFAULT NULL::text[])
 RETURNS SETOF lanekeeper.change
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET xmloption TO 'content'
 SET lc_monetary TO 'C'
AS $function$
BEGIN
  -- All of it STABLE: it sees what the caller's query sees, so that a row and its stamp are of one moment.
  RETURN QUERY
    SELECT v.relation, v.key, v.stamp, v.root, l.shape, i.columns, i.vals, v.application, v.at
      FROM lanekeeper.version v LEFT JOIN lanekeeper.layout l ON l.relation = v.relation AND l.era = v.stamp[1]
      CROSS JOIN LATERAL lanekeeper.image_of(v.relation, v.key) i
      WHERE v.relation = of_relation AND (since IS NULL OR v.at >= since) AND (of_key IS NULL OR v.key = of_key) AND v.deleted = (i.columns IS NULL);
  IF since IS NULL AND of_key IS NULL THEN
    RETURN QUERY SELECT of_relation, u.key, '{0}'::bigint[], NULL::bigint[], NULL::text, u.columns, u.vals, NULL::text, clock_timestamp()
      FROM lanekeeper.unversioned(of_relation) u;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.check_commit()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  view bigint;
  members bigint;
  awaited bigint;
  present text;
BEGIN
  IF lanekeeper.mode() = 'enforce' AND coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    PERFORM lanekeeper.refuse('LK003', format('the lease of data center %s ran out before this transaction committed', lanekeeper.dc()),
      NULL, NULL, NULL, NULL, NULL, 'Nothing was written. See `lanekeeper status`.');
  END IF;
  IF NEW.durability > 0 THEN
    view := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
    members := coalesce(pg_sequence_last_value('lanekeeper.sync_members'::regclass), 1) - 1;
    awaited := coalesce(pg_sequence_last_value('lanekeeper.sync_awaited'::regclass), 1) - 1;
    present := current_setting('synchronous_commit');
    IF members > 0 AND current_setting('synchronous_standby_names') NOT LIKE '%lanekeeper_pad%' THEN
      members := 0; -- Somebody emptied the list: no wait would wait.
    END IF;
    IF members > 0 THEN
      IF present NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
      END IF;
      RAISE NOTICE USING ERRCODE = '01LK1', MESSAGE = 'other data centers that this commit waits for: ' || members,
        DETAIL = '{"waitsFor":' || members || ',"view":' || view || ',"refusesAlone":' || (NEW.durability > 1) || '}';
    ELSE
      IF NEW.durability > 1 AND awaited = 0 THEN
        PERFORM lanekeeper.refuse('LK010', format('data center %s is alone: no other one would hold this', lanekeeper.dc()),
          NULL, NULL, NULL, NULL, NULL, 'Nothing was written. It is accepted again when another data center is in step: see `lanekeeper status`.');
      END IF;
      -- Nobody would ever answer a session that waits of its own accord.
      IF present <> 'local' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
      END IF;
      IF awaited > 0 THEN
        RAISE NOTICE USING ERRCODE = '01LK1', MESSAGE = 'other data centers to wait for after this commit: ' || awaited,
          DETAIL = '{"waitsFor":' || awaited || ',"view":' || view || ',"refusesAlone":' || (NEW.durability > 1) || ',"await":true}';
      END IF;
    END IF;
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.claim_bucket(claim_name text, claim_value text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN 'claim:' || ('x' || left(md5(claim_name || ':' || claim_value), 2))::bit(8)::integer;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.claim_holder(claim_name text, claim_value text, OUT bucket text, OUT home text, OUT account text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  bucket := lanekeeper.claim_bucket(claim_name, normal);
  SELECT lanekeeper.resolve(d.home, d.term) INTO home FROM lanekeeper.deed d WHERE d.account = bucket;
  SELECT c.account INTO account FROM lanekeeper.claim c WHERE c.name = claim_name AND c.value = normal;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.claim_value(claim_name text, claim_value text, for_account text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(claim_name, normal)], 'lanekeeper.claim', 1);
  INSERT INTO lanekeeper.claim AS c (name, value, account) VALUES (claim_name, normal, for_account)
    ON CONFLICT (name, value) DO UPDATE SET claimed_at = clock_timestamp() WHERE c.account = excluded.account;
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.clock(OUT wall_ms bigint, OUT uptime_ms bigint)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  BEGIN
    uptime_ms := (split_part(pg_read_file('/proc/uptime'), ' ', 1)::double precision * 1000)::bigint;
  EXCEPTION WHEN insufficient_privilege OR undefined_file THEN
    uptime_ms := NULL;
  END;
  wall_ms := (date_part('epoch', clock_timestamp()) * 1000)::bigint;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.compare(given_account text, expected_term bigint, expected_counter bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN coalesce((SELECT d.digest = lanekeeper.digest(d.account) FROM lanekeeper.deed d
    WHERE d.account = given_account AND d.home = lanekeeper.dc() AND d.term = expected_term AND d.counter = expected_counter), false);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.conflict_of(number bigint)
 RETURNS TABLE(id bigint, at_ms double precision, seen_in text, relation text, key_columns text[], key text[], policy text, winner_dc text, winner_application text, winner_at_ms double precision, winner_columns text[], winner text[], loser_dc text, loser_application text, loser_at_ms double precision, loser_columns text[], loser text[])
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT c.id, extract(epoch FROM c.at)::float8 * 1000, c.seen_in, c.relation, c.key_columns, c.key, c.policy,
      c.winner_dc, c.winner_application, extract(epoch FROM c.winner_at)::float8 * 1000, c.winner_columns, c.winner,
      c.loser_dc, c.loser_application, extract(epoch FROM c.loser_at)::float8 * 1000, c.loser_columns, c.loser
    FROM lanekeeper.conflict c
    WHERE c.id = conflict_of.number AND has_table_privilege(session_user, to_regclass(lanekeeper.quoted(c.relation)), 'SELECT')
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.copy_as_of(asked text)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN (SELECT c.as_of FROM lanekeeper.copy c WHERE c.relation = CASE WHEN asked LIKE '%.%' THEN asked ELSE 'public.' || asked END);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.copy_state(asked text, OUT as_of timestamp with time zone, OUT made_at timestamp with time zone, OUT complete boolean, OUT missing jsonb)
 RETURNS SETOF record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN QUERY SELECT c.as_of, c.made_at, c.complete, c.missing FROM lanekeeper.copy c
    WHERE c.relation = CASE WHEN asked LIKE '%.%' THEN asked ELSE 'public.' || asked END;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.count_drains()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 AND NOT EXISTS (SELECT FROM lanekeeper.drain WHERE hard) THEN
    PERFORM setval('lanekeeper.hard_drains', 1);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.covers(a bigint[], a_root bigint[], b bigint[])
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
BEGIN
  IF b IS NULL OR b[1] = 0 OR a = b THEN
    RETURN true;
  ELSIF a IS NULL OR a[1] < b[1] THEN
    RETURN false;
  ELSIF a[1] > b[1] THEN
    RETURN a_root IS NOT NULL AND (a_root[1] > b[1] OR lanekeeper.covers(a_root, NULL, b));
  ELSIF cardinality(a) <> cardinality(b) THEN
    RETURN false;
  END IF;
  FOR i IN 2 .. cardinality(a) - 1 LOOP
    IF a[i] < b[i] THEN
      RETURN false;
    END IF;
  END LOOP;
  -- Two writes made on the same version without knowing of each other differ in a place each; equal places are one write.
  RETURN a > b;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.cuts(OUT dc text, OUT generation integer, OUT place pg_lsn)
 RETURNS SETOF record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN QUERY SELECT c.key, (c.value ->> 'generation')::integer, (c.value ->> 'homed')::pg_lsn
    FROM lanekeeper.succession s, jsonb_each(s.cuts) c WHERE s.kind = 'take' AND c.value ->> 'homed' IS NOT NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.declare_layout(of_relation text, new_shape text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  latest lanekeeper.layout;
  s record;
  next_era bigint;
BEGIN
  LOCK TABLE lanekeeper.layout IN SHARE ROW EXCLUSIVE MODE;
  SELECT * INTO latest FROM lanekeeper.layout WHERE relation = of_relation ORDER BY era DESC LIMIT 1;
  IF latest.shape = new_shape THEN
    RETURN latest.era;
  END IF;
  SELECT * INTO s FROM lanekeeper.read_shape(new_shape);
  -- Counts up in the upper half; the lower is the shape's own, so that two data centers that declare the same mean the same.
  next_era := (coalesce(latest.era, 0) / 4294967296 + 1) * 4294967296 + ('x' || left(md5(new_shape), 8))::bit(32)::bigint;
  INSERT INTO lanekeeper.layout (relation, era, shape, policy, dcs, applications)
    VALUES (of_relation, next_era, new_shape, s.policy, s.dcs, s.applications);
  PERFORM lanekeeper.tell('lanekeeper.layout', ARRAY[of_relation], ARRAY[next_era], new_shape, NULL);
  RETURN next_era;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.decline(given_account text, expected_term bigint, expected_counter bigint, OUT kind text, OUT term bigint, OUT counter bigint)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  d lanekeeper.deed;
  p record;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  SELECT * INTO p FROM lanekeeper.present(d);
  IF d.home <> lanekeeper.dc() OR p.term <> d.term OR d.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
  ELSIF p.accepted THEN
    kind := 'already';
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
  ELSE
    kind := 'declined';
    term := d.term;
    counter := d.counter + 1;
    IF cardinality(lanekeeper.dcs()) > 2 THEN
      INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES (given_account, expected_term, expected_counter, lanekeeper.dc())
        ON CONFLICT DO NOTHING;
    END IF;
    UPDATE lanekeeper.deed SET home = d.giver, counter = decline.counter, giver = lanekeeper.dc(), digest = NULL, given_at = clock_timestamp()
      WHERE account = given_account;
    PERFORM lanekeeper.tick();
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', d.giver, 'term', term, 'counter', counter)::text);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.direct_begin(of_relation text, given jsonb, removing boolean, grace interval, OUT of_number bigint, OUT of_key text[], OUT image jsonb, OUT of_stamp bigint, OUT refused_state text, OUT refused_message text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.require_pattern(of_relation, 'direct');
  SELECT i.of_key, i.image INTO of_key, image FROM lanekeeper.spread_image(of_relation, given, removing) i;
  of_stamp := lanekeeper.spread_stamp(of_relation, of_key);
  INSERT INTO lanekeeper.buffer_log (pattern, relation, key, image, stamp) VALUES ('direct', of_relation, of_key, image, of_stamp)
    RETURNING number INTO of_number;
  SET CONSTRAINTS ALL IMMEDIATE;
  BEGIN
    PERFORM lanekeeper.spread_apply(of_relation, of_key, image, of_stamp, lanekeeper.dc(), of_number);
  EXCEPTION WHEN others THEN
    refused_state := SQLSTATE;
    refused_message := SQLERRM;
  END;
  INSERT INTO lanekeeper.buffer_waiting (target, number, not_before)
    SELECT t, of_number, clock_timestamp() + grace FROM unnest(lanekeeper.dcs()) t WHERE t <> lanekeeper.dc() OR refused_state IS NOT NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.direct_end(of_number bigint, targets text[], forget boolean)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM FROM lanekeeper.buffer_log l WHERE l.number = of_number AND l.pattern = 'direct' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF forget THEN
    DELETE FROM lanekeeper.buffer_waiting w WHERE w.number = of_number;
    DELETE FROM lanekeeper.buffer_log l WHERE l.number = of_number;
    RETURN;
  END IF;
  DELETE FROM lanekeeper.buffer_waiting w WHERE w.number = of_number AND w.target = ANY (targets);
  UPDATE lanekeeper.buffer_waiting w SET not_before = '-infinity' WHERE w.number = of_number;
  DELETE FROM lanekeeper.buffer_log l WHERE l.number = of_number
    AND NOT EXISTS (SELECT FROM lanekeeper.buffer_waiting w WHERE w.number = of_number);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.drained(drain_move bigint, instance_name text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM pg_notify('lanekeeper_agent', json_build_object('kind', 'drained', 'move', drain_move, 'instance', instance_name)::text);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.each_greatest(a bigint[], b bigint[])
 RETURNS bigint[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT array_agg(greatest(x, y) ORDER BY i) FROM unnest(a, b) WITH ORDINALITY u(x, y, i)
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.end_drain(drain_move bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  ended text;
BEGIN
  DELETE FROM lanekeeper.drain WHERE move = drain_move RETURNING account INTO ended;
  PERFORM lanekeeper.count_drains();
  IF ended IS NULL THEN
    RETURN false;
  END IF;
  PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'undrain', 'move', drain_move, 'account', ended)::text);
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.end_publishing(number bigint DEFAULT NULL::bigint)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  ended integer;
BEGIN
  PERFORM FROM lanekeeper.publishing p
    WHERE p.xid IS NULL AND p.ended_at IS NULL AND p.until > clock_timestamp() AND (number IS NULL OR p.id = number)
    ORDER BY p.id FOR UPDATE;
  UPDATE lanekeeper.publishing SET ended_at = clock_timestamp()
    WHERE xid IS NULL AND ended_at IS NULL AND until > clock_timestamp() AND (number IS NULL OR id = number);
  GET DIAGNOSTICS ended = ROW_COUNT;
  RETURN ended;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.enlist(instance_name text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM pg_advisory_lock_shared(1279, hashtext(instance_name));
  INSERT INTO lanekeeper.instance (instance, pid) VALUES (instance_name, pg_backend_pid())
    ON CONFLICT (instance) DO UPDATE SET pid = excluded.pid, at = clock_timestamp();
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.fence(accounts text[], relation text, durability integer DEFAULT 0)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
DECLARE
  found_count integer := 0;
  -- Scalars: assigning a record costs as much as the query.
  d_home text;
  d_term bigint;
  d_counter bigint;
  d_giver text;
  d_locker xid;
  latest bigint;
  l_home text;
  l_term bigint;
  d record;
BEGIN
  IF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() AND lanekeeper.mode() = 'enforce' THEN
    PERFORM lanekeeper.refuse('LK003', format('data center %s holds no lease and may not write', lanekeeper.dc()), relation,
      accounts[1], NULL, NULL, NULL, 'Its agent has to prove the lease: see `lanekeeper status`.');
  END IF;

  IF cardinality(accounts) = 1 AND accounts[1] IS NOT NULL THEN
    SELECT home, term, counter, giver, xmax, (SELECT max(succession.term) FROM lanekeeper.succession)
      INTO d_home, d_term, d_counter, d_giver, d_locker, latest
      FROM lanekeeper.deed WHERE account = accounts[1] FOR SHARE OF deed;
    IF FOUND THEN
      found_count := 1;
      IF latest < pg_sequence_last_value('lanekeeper.view'::regclass) OR (latest IS NULL AND pg_sequence_last_value('lanekeeper.view'::regclass) > 1) THEN
        PERFORM lanekeeper.refuse_old_view();
      END IF;
      IF latest > d_term THEN
        SELECT resolved, applied INTO l_home, l_term FROM lanekeeper.lineage WHERE lineage.home = d_home AND lineage.term = d_term;
        IF FOUND THEN
          d_home := l_home;
          d_term := l_term;
          d_giver := NULL;
        ELSE
          l_term := NULL;
        END IF;
      END IF;
      IF d_home <> lanekeeper.dc() OR d_giver IS NOT NULL OR pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
        PERFORM lanekeeper.judge(accounts[1], d_home, d_term, d_counter, d_giver, d_locker, relation);
      END IF;
      IF l_term IS NOT NULL AND d_home = lanekeeper.dc() THEN
        PERFORM lanekeeper.adopt(accounts[1], l_term);
      END IF;
    END IF;
  ELSE
    FOR d IN
      SELECT account, home, term, counter, giver, xmax AS locker, (SELECT max(succession.term) FROM lanekeeper.succession) AS latest
        FROM lanekeeper.deed WHERE account = ANY (accounts) ORDER BY account FOR SHARE OF deed
    LOOP
      found_count := found_count + 1;
      IF coalesce(d.latest, 1) < pg_sequence_last_value('lanekeeper.view'::regclass) THEN
        PERFORM lanekeeper.refuse_old_view();
      END IF;
      l_term := NULL;
      IF d.latest > d.term THEN
        SELECT resolved, applied INTO l_home, l_term FROM lanekeeper.lineage WHERE lineage.home = d.home AND lineage.term = d.term;
        IF FOUND THEN
          d.home := l_home;
          d.term := l_term;
          d.giver := NULL;
        END IF;
      END IF;
      IF d.home <> lanekeeper.dc() OR d.giver IS NOT NULL OR pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
        PERFORM lanekeeper.judge(d.account, d.home, d.term, d.counter, d.giver, d.locker, relation);
      END IF;
      IF l_term IS NOT NULL AND d.home = lanekeeper.dc() THEN
        PERFORM lanekeeper.adopt(d.account, l_term);
      END IF;
    END LOOP;
  END IF;

  IF found_count < cardinality(accounts) THEN
    PERFORM lanekeeper.refuse_missing(accounts, relation);
  END IF;
  RETURN lanekeeper.tick(durability);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.finish_pending(at_most integer DEFAULT 100)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '25ms'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET xmloption TO 'content'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
  p lanekeeper.merge_pending;
  c lanekeeper.change;
  done integer := 0;
  why text;
  state text;
BEGIN
  IF current_setting('session_replication_role') <> 'replica' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'pending changes are merged as replica only';
  END IF;
  -- What failed for a reason of its own is looked at less and less often.
  FOR p IN SELECT * FROM lanekeeper.merge_pending x
      WHERE x.sqlstate IS NULL OR x.since + make_interval(secs => least(power(2, x.tries), 300)) < clock_timestamp() OR x.tries = 0
      ORDER BY x.tries, x.id LIMIT at_most FOR UPDATE SKIP LOCKED LOOP
    why := NULL;
    state := NULL;
    BEGIN
      IF left(p.relation, 11) = 'lanekeeper.' THEN
        c := ROW(p.relation, p.key, p.stamp, p.root, p.shape, p.columns, p.vals, p.application, p.at);
        PERFORM lanekeeper.hear(c);
      ELSE
        PERFORM lanekeeper.hold_row(p.relation, p.key);
        c := ROW(p.relation, p.key, p.stamp, p.root, p.shape, p.columns, p.vals, p.application, p.at);
        IF lanekeeper.merge_row(c) = 'locked' THEN
          why := 'the row is locked';
        END IF;
      END IF;
    EXCEPTION WHEN others THEN
      IF left(SQLSTATE, 2) IN ('53', '58', 'XX') THEN
        RAISE;
      END IF;
      why := SQLERRM;
      state := CASE WHEN SQLSTATE NOT IN ('55P03', '40P01', '40001') THEN SQLSTATE END;
    END;
    IF why IS NULL THEN
      DELETE FROM lanekeeper.merge_pending WHERE id = p.id;
      done := done + 1;
    ELSE
      UPDATE lanekeeper.merge_pending SET tries = tries + 1, reason = why, sqlstate = state WHERE id = p.id;
    END IF;
  END LOOP;
  RETURN done;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.fold()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  s lanekeeper.succession;
BEGIN
  DELETE FROM lanekeeper.lineage;
  FOR s IN SELECT * FROM lanekeeper.succession ORDER BY term LOOP
    PERFORM lanekeeper.fold_in(s);
  END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.fold_in(s lanekeeper.succession)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE lanekeeper.lineage l SET resolved = s.to_dc, applied = s.term, path = l.path || s.term
    WHERE l.resolved = s.from_dc AND (s.kind <> 'return' OR s.undoes = ANY (l.path));
  IF s.kind <> 'return' THEN
    INSERT INTO lanekeeper.lineage (home, term, resolved, applied, path)
      SELECT s.from_dc, t, s.to_dc, s.term, ARRAY[s.term] FROM generate_series(1, s.term - 1) t
      ON CONFLICT DO NOTHING;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.forget_spread(older_than interval)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  forgotten bigint;
BEGIN
  DELETE FROM lanekeeper.spread WHERE removed AND at < clock_timestamp() - older_than;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  DELETE FROM lanekeeper.buffer_aside WHERE state = 'discarded' AND next_at < clock_timestamp() - interval '30 days';
  RETURN forgotten;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.give(given_account text, destination text, expected_term bigint, expected_counter bigint, OUT kind text, OUT term bigint, OUT counter bigint, OUT digest text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  d lanekeeper.deed;
  p record;
  latest bigint;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  SELECT * INTO p FROM lanekeeper.present(d);
  term := p.term;
  counter := d.counter;
  SELECT coalesce(max(succession.term), 1) INTO latest FROM lanekeeper.succession;
  IF latest < pg_sequence_last_value('lanekeeper.view'::regclass) THEN
    PERFORM lanekeeper.refuse_old_view();
  ELSIF NOT destination = ANY (lanekeeper.dcs()) OR destination = lanekeeper.dc()
        OR EXISTS (SELECT FROM lanekeeper.frozen f WHERE f.publisher = destination) THEN
    kind := 'no-such-dc';
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
  ELSIF p.home <> lanekeeper.dc() OR NOT p.accepted THEN
    kind := 'not-here';
  ELSIF p.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
  ELSE
    kind := 'given';
    term := latest;
    counter := d.counter + 1;
    digest := lanekeeper.digest(given_account);
    UPDATE lanekeeper.deed SET home = destination, term = give.term, counter = give.counter, giver = lanekeeper.dc(),
      digest = give.digest, given_at = clock_timestamp() WHERE account = given_account;
    DELETE FROM lanekeeper.drain WHERE account = given_account;
    PERFORM lanekeeper.count_drains();
    PERFORM lanekeeper.tick();
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', destination, 'term', term, 'counter', counter)::text);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.give(given_account text, destination text, expected_term bigint, expected_counter bigint, patience_ms integer, OUT kind text, OUT term bigint, OUT counter bigint, OUT digest text)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM set_config('lock_timeout', patience_ms::text, true);
  SELECT g.* INTO kind, term, counter, digest FROM lanekeeper.give(given_account, destination, expected_term, expected_counter) g;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.guard_claim()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  present lanekeeper.claim;
BEGIN
  SELECT * INTO present FROM lanekeeper.claim WHERE name = NEW.name AND value = NEW.value;
  IF NOT FOUND THEN
    RETURN NEW;
  ELSIF present.account <> NEW.account THEN
    INSERT INTO lanekeeper.incident (kind, detail) VALUES ('claimed-twice', json_build_object('present', present, 'arrived', NEW));
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.guard_epoch()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  present lanekeeper.deed;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF NEW.account IS DISTINCT FROM OLD.account THEN
      RAISE EXCEPTION USING ERRCODE = 'LK002', MESSAGE = 'a deed cannot change its account';
    ELSIF (NEW.term, NEW.counter) > (OLD.term, OLD.counter) THEN
      IF NEW.giver IS NOT NULL AND NEW.giver <> OLD.home AND NEW.giver <> lanekeeper.resolve(OLD.home, OLD.term) THEN
        -- A peer's row is input: only the home may give an account away.
        INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-not-entitled', json_build_object('present', OLD, 'refused', NEW));
        RETURN NULL;
      END IF;
      RETURN NEW;
    ELSIF NEW IS NOT DISTINCT FROM OLD AND current_setting('session_replication_role') <> 'replica' THEN
      RETURN NEW; -- touch_deeds
    ELSIF NEW IS DISTINCT FROM OLD THEN
      INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-regress', json_build_object('present', OLD, 'refused', NEW));
    END IF;
    RETURN NULL;
  END IF;
  IF current_setting('session_replication_role') <> 'replica' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO present FROM lanekeeper.deed WHERE account = NEW.account;
  IF NOT FOUND THEN
    RETURN NEW;
  ELSIF (NEW.term, NEW.counter) > (present.term, present.counter) THEN
    UPDATE lanekeeper.deed SET home = NEW.home, term = NEW.term, counter = NEW.counter, giver = NEW.giver, digest = NEW.digest, given_at = NEW.given_at
      WHERE account = NEW.account;
  ELSIF (NEW.term, NEW.counter) = (present.term, present.counter) AND NEW.home <> present.home THEN
    INSERT INTO lanekeeper.incident (kind, detail) VALUES ('born-twice', json_build_object('present', present, 'arrived', NEW));
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.guard_singleton(of_name text, of_everywhere boolean, of_number bigint)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  present bigint;
BEGIN
  IF of_everywhere THEN
    PERFORM lanekeeper.fence(ARRAY['fixed:' || of_name], 'lanekeeper.singleton');
  END IF;
  SELECT s.number INTO present FROM lanekeeper.singleton s WHERE s.name = of_name AND s.everywhere = of_everywhere FOR SHARE;
  IF present IS DISTINCT FROM of_number OR of_everywhere AND of_number <= coalesce(lanekeeper.singleton_base(of_name), 0) THEN
    RAISE EXCEPTION USING ERRCODE = 'LK011',
      MESSAGE = format('number %s of %s was taken over by number %s', of_number, of_name, coalesce(present::text, 'of another data center')),
      HINT = 'Stop what this singleton was doing: somebody else does it now.';
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.guard_succession()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term) THEN
    RETURN NULL;
  END IF;
  IF current_setting('session_replication_role') = 'replica' AND NEW.kind = 'take' THEN
    IF (NEW.cuts -> lanekeeper.dc() ->> 'generation')::integer = (SELECT g.generation FROM lanekeeper.generation g)
       AND NOT EXISTS (SELECT FROM lanekeeper.rejoining r JOIN lanekeeper.generation USING (generation)
         WHERE r.stage IN ('undone', 'caught-up', 'streaming', 'verified', 'readmitted', 'done')
           -- The same successor took another one over since: what it had of us is what it had then.
           AND (r.term >= NEW.term OR EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = r.term AND s.to_dc = NEW.to_dc))) THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('data center %s was taken over by %s and has to rejoin before it reads on', lanekeeper.dc(), NEW.to_dc),
        HINT = 'Its agent does that: see `lanekeeper status`.';
    END IF;
    WHILE NOT lanekeeper.has_tails(NEW.cuts) LOOP
      IF clock_timestamp() > patience THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('%s lacks what %s had of %s when it took over', lanekeeper.dc(), NEW.to_dc, NEW.from_dc),
          HINT = 'Its agent fetches that from another data center: see `lanekeeper status`.';
      END IF;
      PERFORM pg_sleep(0.02);
    END LOOP;
    IF lanekeeper.lacks_the_end(NEW) THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('%s may have more of %s, or of another one that is gone, than %s had when it took over', lanekeeper.dc(), NEW.from_dc, NEW.to_dc),
        HINT = 'What is beyond that is set aside first: see `lanekeeper status`.';
    END IF;
    IF EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term) THEN
      RETURN NULL; -- Recorded by the agent meanwhile.
    END IF;
  END IF;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.guardian(of_relation text, columns text[], vals text[])
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF of_relation = 'lanekeeper.claim' THEN
    RETURN lanekeeper.claim_bucket(vals[array_position(columns, 'name')], vals[array_position(columns, 'value')]);
  END IF;
  RETURN lanekeeper.whose(of_relation, columns, vals);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.harden_drain(drain_move bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  UPDATE lanekeeper.drain SET hard = true WHERE move = drain_move;
  PERFORM setval('lanekeeper.hard_drains', 2);
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.has_arrived(of_dc text, place pg_lsn)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN coalesce(lanekeeper.arrived(of_dc) >= place, of_dc = lanekeeper.dc());
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.has_tails(cuts jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN NOT EXISTS (
    SELECT FROM jsonb_each(cuts) c WHERE c.key <> lanekeeper.dc() AND NOT EXISTS (
      SELECT FROM (SELECT publisher, homed, rest FROM lanekeeper.frozen UNION ALL SELECT publisher, homed, rest FROM lanekeeper.thawed) f
        WHERE f.publisher = c.key AND f.homed >= (c.value ->> 'homed')::pg_lsn AND f.rest >= (c.value ->> 'rest')::pg_lsn));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hear(c lanekeeper.change)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF c.relation = 'lanekeeper.layout' THEN
    PERFORM lanekeeper.learn_layout(c.key[1], c.stamp[1], c.shape);
  ELSIF c.relation = 'lanekeeper.mark' THEN
    INSERT INTO lanekeeper.merge_mark (dc, mark, seen) VALUES (c.key[1], c.stamp[1], c.vals[1]::jsonb)
      ON CONFLICT (dc) DO UPDATE SET mark = excluded.mark, seen = excluded.seen, at = clock_timestamp() WHERE merge_mark.mark < excluded.mark;
    INSERT INTO lanekeeper.merge_heard (dc, mark) VALUES (c.key[1], c.stamp[1]) ON CONFLICT DO NOTHING;
  ELSIF c.relation = 'lanekeeper.floor' THEN
    INSERT INTO lanekeeper.floor (relation, dc, era, stamp) VALUES (c.key[1], c.key[2], c.stamp[1], c.stamp)
      ON CONFLICT (relation, dc, era) DO UPDATE SET stamp = lanekeeper.each_greatest(floor.stamp, excluded.stamp);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hold_acceptance()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  IF pg_trigger_depth() > 1 OR cardinality(lanekeeper.dcs()) < 3 THEN
    RETURN NEW;
  END IF;
  LOOP
    IF NEW.account = '' THEN
      EXIT WHEN EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term);
    ELSE
      EXIT WHEN EXISTS (SELECT FROM lanekeeper.deed d WHERE d.account = NEW.account AND (d.term, d.counter) >= (NEW.term, NEW.counter));
    END IF;
    IF clock_timestamp() > patience THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = CASE WHEN NEW.account = ''
          THEN format('the succession of term %s, which %s goes by, has not arrived in %s', NEW.term, NEW.dc, lanekeeper.dc())
          ELSE format('the deed of account %s, which %s has accepted, has not arrived in %s', NEW.account, NEW.dc, lanekeeper.dc()) END,
        HINT = 'It comes with the stream of the former home, or is fetched when that is gone: see `lanekeeper status`.';
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hold_adoption()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
  late boolean := false;
BEGIN
  IF pg_trigger_depth() > 1 OR cardinality(lanekeeper.dcs()) < 3 THEN
    RETURN NEW;
  END IF;
  WHILE NOT EXISTS (SELECT FROM lanekeeper.deed d, lanekeeper.present(d) p WHERE d.account = NEW.account AND p.term >= NEW.term) LOOP
    late := true;
    EXIT WHEN clock_timestamp() > patience;
    PERFORM pg_sleep(0.01);
  END LOOP;
  IF late THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('account %s was written in its new home before its deed had arrived in %s', NEW.account, lanekeeper.dc()),
      HINT = 'It is applied again, as soon as what comes before it is there.';
  END IF;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hold_arrival()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF left(pg_walfile_name(pg_current_wal_lsn()), 8) <> lpad(to_hex(pg_sequence_last_value('lanekeeper.accepted_timeline')), 8, '0') THEN
    PERFORM lanekeeper.await_acceptance();
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hold_deed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  -- Not what a repair puts in place: what it goes by may come behind it in the same stream.
  IF pg_trigger_depth() > 1 OR cardinality(lanekeeper.dcs()) < 3 THEN
    RETURN NEW;
  END IF;
  WHILE NEW.term > 1 AND NOT EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term) LOOP
    IF clock_timestamp() > patience THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('the succession of term %s, which the deed of account %s goes by, has not arrived in %s', NEW.term, NEW.account, lanekeeper.dc()),
        HINT = 'It comes with another stream: see `lanekeeper status`.';
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
  -- Only the home may give an account away (`guard_epoch`). It may have become that by a deed which comes with another stream, and which
  -- has to lock this row: so not by waiting here.
  IF TG_OP = 'UPDATE' AND (NEW.term, NEW.counter) > (OLD.term, OLD.counter) AND NEW.giver <> OLD.home AND NEW.giver <> lanekeeper.resolve(OLD.home, OLD.term) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('account %s was given away by %s, and as far as is known in %s it is not at home there', NEW.account, NEW.giver, lanekeeper.dc()),
      HINT = 'It is tried again: the deed that made it the home comes with another stream. See `lanekeeper status`.';
  END IF;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hold_ms()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$ SELECT 10000 $function$;

CREATE OR REPLACE FUNCTION lanekeeper.hold_session(owner text, key text, used_account text, session text, former text, from_dc text, stickiness_ms bigint, OUT held boolean, OUT since timestamp with time zone, OUT dc text, OUT left_ms double precision)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  kept jsonb;
  now_is timestamptz := clock_timestamp();
  active timestamptz;
BEGIN
  PERFORM lanekeeper.fence(ARRAY[owner], 'lanekeeper.outcome');
  INSERT INTO lanekeeper.outcome (account, request_id, result, dc) VALUES (owner, key, '{}', lanekeeper.dc()) ON CONFLICT DO NOTHING;
  SELECT o.result INTO kept FROM lanekeeper.outcome o WHERE o.account = owner AND o.request_id = key FOR UPDATE;
  since := (kept ->> 'since')::timestamptz;
  dc := kept ->> 'dc';
  active := greatest((kept ->> 'at')::timestamptz, CASE WHEN since IS NOT NULL THEN lanekeeper.last_used(used_account) END);
  left_ms := date_part('epoch', active - now_is) * 1000 + stickiness_ms;
  held := kept ->> 'session' IS NULL OR kept ->> 'session' IN (session, coalesce(former, '')) OR left_ms <= 0;
  IF NOT held THEN
    RETURN;
  END IF;
  -- Another data center that has to take over knows of uses that are not older than a quarter of that.
  IF kept ->> 'session' IS DISTINCT FROM session OR (kept ->> 'at')::timestamptz < now_is - stickiness_ms / 4 * interval '1 millisecond' THEN
    IF kept ->> 'session' IS DISTINCT FROM session THEN
      since := now_is;
    END IF;
    UPDATE lanekeeper.outcome o SET at = now_is, dc = lanekeeper.dc(),
        result = jsonb_build_object('session', session, 'since', hold_session.since, 'at', now_is, 'dc', from_dc)
      WHERE o.account = owner AND o.request_id = key;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.homes()
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$ SELECT 'per-account'::text $function$;
-- may be called by everybody

CREATE OR REPLACE FUNCTION lanekeeper.homes_problem()
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  other text;
  home text;
BEGIN
  IF lanekeeper.homes() = 'single' THEN
    RETURN NULL;
  END IF;
  SELECT dc INTO other FROM lanekeeper.homed_as WHERE dc <> lanekeeper.dc() AND homes = 'single' ORDER BY 1 LIMIT 1;
  IF other IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT lanekeeper.resolve(d.home, d.term) INTO home FROM lanekeeper.deed d WHERE d.account = '*';
  IF home IS NULL OR home = lanekeeper.dc() THEN
    RETURN NULL;
  END IF;
  RETURN format('%s goes by one home for all accounts, which is %s: apply that configuration here as well', other, home);
END $function$;
-- may be called by everybody

CREATE OR REPLACE FUNCTION lanekeeper.instances()
 RETURNS SETOF text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN QUERY SELECT i.instance FROM lanekeeper.instance i WHERE lanekeeper.is_alive(i) ORDER BY 1;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.is_accepted(d lanekeeper.deed)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
  RETURN d.giver IS NULL OR EXISTS (SELECT FROM lanekeeper.acceptance a WHERE a.account = d.account AND a.term = d.term AND a.counter = d.counter);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.is_alive(i lanekeeper.instance)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
  RETURN EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.pid = i.pid AND l.classid::bigint = 1279 AND l.objid::bigint = hashtext(i.instance)::bigint & 4294967295 AND l.granted);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.judge(account text, home text, term bigint, counter bigint, giver text, locker xid, relation text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
DECLARE
  moving_to text;
BEGIN
  IF judge.home <> lanekeeper.dc() THEN
    PERFORM lanekeeper.refuse('LK001', format('account %s is written in %s, not in %s', judge.account, judge.home, lanekeeper.dc()),
      relation, judge.account, judge.home, judge.term, judge.counter, format('Send the request to %s.', judge.home));
  ELSIF judge.giver IS NOT NULL AND NOT EXISTS (SELECT FROM lanekeeper.acceptance a
        WHERE a.account = judge.account AND a.term = judge.term AND a.counter = judge.counter) THEN
    PERFORM lanekeeper.refuse('LK004', format('account %s is arriving in %s and has not been accepted yet', judge.account, judge.home),
      relation, judge.account, judge.home, judge.term, judge.counter, 'Try again in a moment.');
  ELSIF pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
    SELECT d.to_dc INTO moving_to FROM lanekeeper.drain d
      WHERE d.account IN (judge.account, '*') AND d.hard AND d.until > clock_timestamp() LIMIT 1;
    IF FOUND AND NOT lanekeeper.locked_here(judge.locker) THEN
      PERFORM lanekeeper.refuse('LK009', format('account %s is moving to %s', judge.account, moving_to),
        relation, judge.account, moving_to, judge.term, judge.counter, 'Try again in a moment.');
    END IF;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.keep_pending(c lanekeeper.change, why text, state text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.merge_pending p WHERE p.relation = c.relation AND p.key = c.key AND lanekeeper.covers(p.stamp, p.root, c.stamp)) THEN
    RETURN;
  END IF;
  DELETE FROM lanekeeper.merge_pending WHERE id IN (SELECT p.id FROM lanekeeper.merge_pending p
    WHERE p.relation = c.relation AND p.key = c.key AND lanekeeper.covers(c.stamp, c.root, p.stamp) FOR UPDATE SKIP LOCKED);
  INSERT INTO lanekeeper.merge_pending (relation, key, stamp, root, shape, columns, vals, application, at, reason, sqlstate)
    VALUES (c.relation, c.key, c.stamp, c.root, c.shape, c.columns, c.vals, c.application, c.at, why, state);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.keep_snapshot()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF NEW.kind = 'take' AND NOT EXISTS (SELECT FROM lanekeeper.joining j WHERE j.dc = lanekeeper.dc()) THEN
    INSERT INTO lanekeeper.takeover (term, snapshot) VALUES (NEW.term, pg_current_snapshot()) ON CONFLICT DO NOTHING;
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.lacks_the_end(s lanekeeper.succession)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF coalesce(lanekeeper.lease_left_ms(), 0) > 0
     OR coalesce((SELECT r.stage IN ('readmitted', 'done') FROM lanekeeper.rejoining r ORDER BY r.term DESC LIMIT 1), true) THEN
    RETURN false;
  END IF;
  RETURN EXISTS (SELECT FROM jsonb_each(s.cuts) c JOIN lanekeeper.frozen f ON f.publisher = c.key WHERE f.homed > (c.value ->> 'homed')::pg_lsn)
    OR (s.from_dc <> lanekeeper.dc() AND NOT EXISTS (SELECT FROM lanekeeper.frozen f WHERE f.publisher = s.from_dc)
      AND NOT EXISTS (SELECT FROM lanekeeper.thawed t WHERE t.publisher = s.from_dc AND t.term >= s.term));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.land()
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  landed integer;
BEGIN
  IF cardinality(lanekeeper.dcs()) < 3 OR coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    RETURN 0;
  END IF;
  INSERT INTO lanekeeper.acceptance (account, term, counter, dc)
    SELECT '', s.term, 0, lanekeeper.dc() FROM lanekeeper.succession s
      WHERE s.to_dc = lanekeeper.dc() AND s.kind <> 'take' AND NOT EXISTS (SELECT FROM lanekeeper.acceptance a WHERE a.account = '' AND a.term = s.term)
      ORDER BY s.term
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS landed = ROW_COUNT;
  RETURN landed;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.landed(of_term bigint)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
  RETURN cardinality(lanekeeper.dcs()) < 3
    OR EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = of_term AND s.kind = 'take')
    OR EXISTS (SELECT FROM lanekeeper.acceptance a WHERE a.account = '' AND a.term = of_term);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.last_used(asked text)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN (SELECT at FROM lanekeeper.activity WHERE account = asked);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.learn_layout(of_relation text, of_era bigint, of_shape text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  INSERT INTO lanekeeper.layout (relation, era, shape, policy, dcs, applications)
    SELECT of_relation, of_era, of_shape, s.policy, s.dcs, s.applications FROM lanekeeper.read_shape(of_shape) s
    ON CONFLICT DO NOTHING;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.lease_left_ms()
 RETURNS double precision
 LANGUAGE plpgsql
AS $function$
DECLARE
  by_clock double precision := pg_sequence_last_value('lanekeeper.lease'::regclass) - date_part('epoch', clock_timestamp()) * 1000;
  by_uptime bigint := pg_sequence_last_value('lanekeeper.lease_uptime'::regclass);
BEGIN
  -- A clock that is being adjusted may go back by a little.
  IF by_clock > pg_sequence_last_value('lanekeeper.lease_length'::regclass) + 1000 THEN
    RETURN 0;
  ELSIF by_uptime > 1 THEN
    RETURN least(by_clock, by_uptime - split_part(pg_read_file('/proc/uptime'), ' ', 1)::double precision * 1000);
  END IF;
  RETURN by_clock;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.leave_singleton(of_name text, of_everywhere boolean)
 RETURNS boolean
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT pg_advisory_unlock(lanekeeper.singleton_lock(of_name, of_everywhere))
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.let_wait(of_part integer, c lanekeeper.change)
 RETURNS void
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
AS $function$
BEGIN
  INSERT INTO lanekeeper.written AS w (xid, part, relation, key, stamp, root, shape, columns, vals, application, at, opens)
    VALUES (pg_current_xact_id(), of_part, c.relation, c.key, c.stamp, c.root, c.shape, c.columns, c.vals, c.application, c.at,
      NOT EXISTS (SELECT FROM lanekeeper.written x WHERE x.xid = pg_current_xact_id() AND x.part = of_part))
    ON CONFLICT (xid, part, relation, key) DO UPDATE SET stamp = excluded.stamp, root = excluded.root, shape = excluded.shape,
      columns = excluded.columns, vals = excluded.vals, application = excluded.application, at = excluded.at;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.locked_here(locker xid)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
DECLARE
  mine text := pg_current_xact_id_if_assigned()::text;
BEGIN
  IF mine IS NULL OR locker::text = '0' THEN
    RETURN false;
  END IF;
  mine := (mine::numeric % 4294967296)::text;
  IF locker::text = mine THEN
    RETURN true;
  END IF;
  RETURN EXISTS (SELECT FROM pg_get_multixact_members(locker) m WHERE m.xid::text = mine);
EXCEPTION WHEN others THEN
  RETURN false; -- A plain transaction id is not a multixact: it is somebody else's.
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.log_change(of_relation text, of_key text[], cols text[], row_vals text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  l lanekeeper.layout;
  base bigint[];
  base_root bigint[];
  known boolean;
  used_era bigint;
  used bigint;
  s bigint[];
  app text := nullif(current_setting('lanekeeper.application', true), '');
  logged text := coalesce(current_setting('lanekeeper.logged', true), '');
  number integer := CASE WHEN logged ~ '^\d{1,9}$' THEN logged::integer ELSE 0 END;
  written timestamptz := clock_timestamp();
  place tid;
BEGIN
  LOOP
    SELECT v.stamp, v.root, v.own_era, v.own INTO base, base_root, used_era, used FROM lanekeeper.version v WHERE v.relation = of_relation AND v.key = of_key FOR UPDATE;
    known := FOUND;
    IF NOT known THEN
      SELECT lanekeeper.each_greatest(f.stamp) INTO base FROM lanekeeper.floor f
        WHERE f.relation = of_relation AND f.era = (SELECT max(x.era) FROM lanekeeper.floor x WHERE x.relation = of_relation);
      SELECT lanekeeper.each_greatest(f.stamp) INTO base_root FROM lanekeeper.floor f
        WHERE f.relation = of_relation AND f.era = (SELECT max(x.era) FROM lanekeeper.floor x WHERE x.relation = of_relation AND x.era < base[1]);
    END IF;
    SELECT * INTO l FROM lanekeeper.layout x WHERE x.relation = of_relation ORDER BY x.era DESC LIMIT 1;
    IF l.era IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('%s has no layout here', of_relation), HINT = 'Run `lanekeeper apply` here.';
    END IF;
    s := lanekeeper.next_stamp(l, base, CASE WHEN used_era = l.era THEN used ELSE 0 END, app);
    used := s[cardinality(s) - 1 - cardinality(l.dcs) + array_position(l.dcs, lanekeeper.dc_number())];
    IF base[1] < l.era THEN
      base_root := base;
    END IF;
    IF known THEN
      UPDATE lanekeeper.version v SET stamp = s, root = base_root, own_era = l.era, own = used, deleted = cols IS NULL, application = app, at = written
        WHERE v.relation = of_relation AND v.key = of_key;
      EXIT;
    END IF;
    INSERT INTO lanekeeper.version (relation, key, stamp, root, own_era, own, deleted, application, at)
      VALUES (of_relation, of_key, s, base_root, l.era, used, cols IS NULL, app, written) ON CONFLICT DO NOTHING;
    EXIT WHEN FOUND; -- else a merge was faster: look again
  END LOOP;
  -- To read one's own in a table of all would make serializable transactions fail that have nothing to do with each other.
  IF logged = '' OR current_setting('transaction_isolation') = 'serializable' THEN
    INSERT INTO lanekeeper.change (relation, key, stamp, root, shape, columns, vals, application, at)
      VALUES (of_relation, of_key, s, base_root, l.shape, cols, row_vals, app, written) RETURNING ctid INTO place;
    DELETE FROM lanekeeper.change WHERE ctid = place;
    IF logged = '' THEN
      PERFORM set_config('lanekeeper.logged', '1', true);
    END IF;
    RETURN;
  END IF;
  PERFORM lanekeeper.let_wait(number / 1000, ROW(of_relation, of_key, s, base_root, l.shape, cols, row_vals, app, written));
  IF number % 1000 = 999 THEN
    PERFORM lanekeeper.send_waiting(number / 1000);
  END IF;
  PERFORM set_config('lanekeeper.logged', (number + 1)::text, true);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.log_conflict(c lanekeeper.change, wins boolean)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  number bigint;
  v lanekeeper.version;
  present record;
  mine lanekeeper.change;
  winner lanekeeper.change;
  loser lanekeeper.change;
BEGIN
  SELECT * INTO v FROM lanekeeper.version x WHERE x.relation = c.relation AND x.key = c.key;
  IF EXISTS (SELECT FROM lanekeeper.conflict x WHERE x.relation = c.relation AND x.key = c.key
      AND (x.winner_stamp, x.loser_stamp) IN ((c.stamp, v.stamp), (v.stamp, c.stamp))) THEN
    RETURN;
  END IF;
  present := lanekeeper.image_of(c.relation, c.key);
  mine := ROW(v.relation, v.key, v.stamp, v.root, NULL, present.columns, present.vals, v.application, v.at);
  IF wins THEN
    winner := c;
    loser := mine;
  ELSE
    winner := mine;
    loser := c;
  END IF;
  INSERT INTO lanekeeper.conflict (seen_in, relation, key_columns, key, policy, era,
      winner_dc, winner_application, winner_at, winner_stamp, winner_columns, winner,
      loser_dc, loser_application, loser_at, loser_stamp, loser_columns, loser)
    VALUES (lanekeeper.dc(), c.relation, lanekeeper.merged_key(c.relation), c.key, split_part(c.shape, '|', 1), winner.stamp[1],
      lanekeeper.dc_of(winner.stamp[cardinality(winner.stamp)]), winner.application, winner.at, winner.stamp, winner.columns, winner.vals,
      lanekeeper.dc_of(loser.stamp[cardinality(loser.stamp)]), loser.application, loser.at, loser.stamp, loser.columns, loser.vals)
    RETURNING id INTO number;
  PERFORM pg_notify(channel, json_build_object('kind', 'conflict', 'id', number, 'relation', c.relation,
      'key', CASE WHEN octet_length(c.key::text) < 1000 THEN to_json(c.key) END)::text)
    FROM unnest(ARRAY['lanekeeper_agent', 'lanekeeper_app']) channel;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.log_place(OUT place pg_lsn, OUT generation integer)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  place := pg_current_wal_insert_lsn();
  SELECT g.generation INTO generation FROM lanekeeper.generation g;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.mark_merged()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  number bigint;
  known jsonb;
BEGIN
  -- The snapshot of this one statement: every mark that it sees came after changes of which none is pending in it.
  INSERT INTO lanekeeper.merge_mark AS m (dc, mark, seen)
    SELECT lanekeeper.dc(), 1, CASE WHEN EXISTS (SELECT FROM lanekeeper.merge_pending) THEN '{}'
      ELSE coalesce((SELECT jsonb_object_agg(x.dc, x.mark) FROM lanekeeper.merge_mark x WHERE x.dc <> lanekeeper.dc()), '{}') END
    ON CONFLICT (dc) DO UPDATE SET mark = m.mark + 1, at = clock_timestamp(),
      seen = CASE WHEN excluded.seen = '{}' THEN m.seen ELSE excluded.seen END
    RETURNING m.mark, m.seen INTO number, known;
  INSERT INTO lanekeeper.merge_heard (dc, mark) VALUES (lanekeeper.dc(), number);
  PERFORM lanekeeper.tell('lanekeeper.floor', ARRAY[f.relation, f.dc], f.stamp, NULL, NULL) FROM lanekeeper.floor f WHERE f.dc = lanekeeper.dc();
  PERFORM lanekeeper.tell('lanekeeper.mark', ARRAY[lanekeeper.dc()], ARRAY[number], NULL, ARRAY[(known || '{"lanekeeper.batches": 1}')::text]);
  RETURN number;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.may_publish(relation text)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM FROM lanekeeper.publishing p
    WHERE p.xid = pg_current_xact_id_if_assigned() AND relation = ANY (p.relations) AND p.until > clock_timestamp();
  IF FOUND THEN
    RETURN true;
  END IF;
  PERFORM FROM lanekeeper.publishing p
    WHERE p.xid IS NULL AND p.ended_at IS NULL AND p.until > clock_timestamp() AND relation = ANY (p.relations)
      AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ANY (p.roles) AND pg_has_role(session_user, r.oid, 'MEMBER'))
    ORDER BY p.id LIMIT 1 FOR KEY SHARE;
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.merge_batch(c lanekeeper.change, arrivals lanekeeper.arrival[])
 RETURNS integer[]
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
DECLARE
  of_relation text := substr(c.relation, 7);
  known integer[];
  newer integer[];
  places tid[];
  stale integer[];
  fresh integer[] := '{}';
  put integer[];
BEGIN
  IF c.shape IS NOT NULL AND NOT EXISTS (SELECT FROM lanekeeper.layout l WHERE l.relation = of_relation AND l.era = c.stamp[1][1]) THEN
    PERFORM lanekeeper.learn_layout(of_relation, c.stamp[1][1], c.shape);
  END IF;
  SELECT coalesce(array_agg(q.number), '{}'), coalesce(array_agg(q.number) FILTER (WHERE q.newer), '{}'),
      coalesce(array_agg(q.place) FILTER (WHERE q.newer), '{}'), coalesce(array_agg(q.number) FILTER (WHERE q.stale), '{}')
    INTO known, newer, places, stale
    FROM (SELECT h.number, h.place,
        h.stamp > h.present AND lanekeeper.covers(h.stamp, h.root, h.present) AS newer,
        h.stamp <= h.present AND lanekeeper.covers(h.present, h.present_root, h.stamp) AS stale
      FROM (SELECT x.ctid AS place, x.stamp AS present, x.root AS present_root, a.number, a.stamp, a.root
        FROM unnest(arrivals) a JOIN lanekeeper.version x ON x.relation = of_relation AND x.key = a.key
        FOR UPDATE OF x SKIP LOCKED) h) q;
  IF cardinality(known) < cardinality(arrivals) THEN
    SELECT coalesce(array_agg(a.number), '{}') INTO fresh FROM unnest(arrivals) a
      WHERE a.number <> ALL (known) AND NOT EXISTS (SELECT FROM lanekeeper.version x WHERE x.relation = of_relation AND x.key = a.key);
  END IF;
  put := lanekeeper.put_rows(of_relation, newer || fresh, c.columns, c.vals);
  IF put IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = format('%s is not merged here yet', of_relation), HINT = 'Run `lanekeeper apply` here.';
  END IF;
  UPDATE lanekeeper.version x SET stamp = (arrivals[p.number]).stamp, root = (arrivals[p.number]).root, deleted = c.columns IS NULL,
      application = c.application, at = (arrivals[p.number]).at
    FROM unnest(places, newer) p(place, number)
    WHERE x.ctid = p.place AND p.number = ANY (put);
  IF cardinality(fresh) > 0 THEN
    INSERT INTO lanekeeper.version (relation, key, stamp, root, deleted, application, at)
      SELECT of_relation, a.key, a.stamp, a.root, c.columns IS NULL, c.application, a.at FROM unnest(arrivals) a
        WHERE a.number = ANY (fresh) AND a.number = ANY (put) AND a.stamp[1] > 0;
  END IF;
  IF cardinality(put) + cardinality(stale) = cardinality(arrivals) THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(SELECT a.number FROM unnest(arrivals) a WHERE a.number <> ALL (put) AND a.number <> ALL (stale) ORDER BY a.number);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.merge_one(c lanekeeper.change)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  why text := NULL;
  state text;
BEGIN
  BEGIN
    IF left(c.relation, 11) = 'lanekeeper.' THEN
      PERFORM lanekeeper.hear(c);
    ELSIF lanekeeper.merge_row(c) = 'locked' THEN
      why := 'the row is locked';
    END IF;
  EXCEPTION WHEN others THEN
    IF left(SQLSTATE, 2) IN ('53', '58', 'XX') THEN
      RAISE;
    END IF;
    why := SQLERRM;
    state := CASE WHEN SQLSTATE NOT IN ('55P03', '40P01', '40001') THEN SQLSTATE END;
  END;
  IF why IS NOT NULL THEN
    PERFORM lanekeeper.keep_pending(c, why, state);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.merge_row(c lanekeeper.change)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
DECLARE
  place tid;
  present bigint[];
  present_root bigint[];
  known boolean;
  conflict boolean := false;
  wins boolean := true;
  outcome text;
BEGIN
  IF array_ndims(c.stamp) = 2 THEN
    -- Kept whole by a version that did not read it.
    PERFORM lanekeeper.keep_pending(lanekeeper.change_of(c, a), 'arrived in a batch', NULL) FROM unnest(lanekeeper.arrivals_of(c)) a;
    RETURN 'merged';
  END IF;
  SELECT x.ctid, x.stamp, x.root INTO place, present, present_root FROM lanekeeper.version x
    WHERE x.relation = c.relation AND x.key = c.key FOR UPDATE SKIP LOCKED;
  known := FOUND;
  IF NOT known AND EXISTS (SELECT FROM lanekeeper.version x WHERE x.relation = c.relation AND x.key = c.key) THEN
    RETURN 'locked';
  END IF;
  IF c.shape IS NOT NULL AND (NOT known OR present[1] <> c.stamp[1])
     AND NOT EXISTS (SELECT FROM lanekeeper.layout l WHERE l.relation = c.relation AND l.era = c.stamp[1]) THEN
    PERFORM lanekeeper.learn_layout(c.relation, c.stamp[1], c.shape);
  END IF;
  IF known THEN
    -- What covers another is never the smaller of the two.
    IF c.stamp > present THEN
      conflict := NOT lanekeeper.covers(c.stamp, c.root, present);
    ELSIF lanekeeper.covers(present, present_root, c.stamp) THEN
      RETURN 'stale';
    ELSE
      conflict := true;
      wins := left(c.shape, 4) = 'last';
    END IF;
    IF conflict THEN
      PERFORM lanekeeper.log_conflict(c, wins);
      IF NOT wins THEN
        RETURN 'stale';
      END IF;
    END IF;
    UPDATE lanekeeper.version x SET stamp = c.stamp, root = c.root, deleted = c.columns IS NULL, application = c.application, at = c.at
      WHERE x.ctid = place;
  ELSIF c.stamp[1] > 0 THEN
    INSERT INTO lanekeeper.version (relation, key, stamp, root, deleted, application, at)
      VALUES (c.relation, c.key, c.stamp, c.root, c.columns IS NULL, c.application, c.at);
  END IF;
  outcome := lanekeeper.put_row(c.relation, c.key, c.columns, c.vals);
  IF outcome = 'locked' THEN
    RAISE EXCEPTION USING ERRCODE = '55P03', MESSAGE = 'the row is locked';
  ELSIF outcome = 'unknown' THEN
    RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = format('%s is not merged here yet', c.relation), HINT = 'Run `lanekeeper apply` here.';
  END IF;
  RETURN 'merged';
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.next_stamp(l lanekeeper.layout, base bigint[], used bigint, application text)
 RETURNS bigint[]
 LANGUAGE plpgsql
AS $function$
DECLARE
  place integer := array_position(l.dcs, lanekeeper.dc_number());
  clocks integer := CASE l.policy WHEN 'timestamp-weight' THEN 1 WHEN 'application-weight' THEN cardinality(l.applications) + 1 ELSE 0 END;
  s bigint[];
  at integer;
BEGIN
  IF place IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('data center %s is not among those that %s is merged in', lanekeeper.dc(), l.relation),
      HINT = 'Run `lanekeeper apply` here.';
  END IF;
  IF base IS NOT NULL AND base[1] > l.era THEN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = format('could not serialize access: %s was written in an era that this transaction does not know', l.relation);
  ELSIF base[1] = l.era THEN
    s := base;
  ELSE
    s := array_fill(0::bigint, ARRAY[clocks + cardinality(l.dcs) + 2]);
    s[1] := l.era;
  END IF;
  IF l.policy = 'timestamp-weight' THEN
    s[2] := greatest((date_part('epoch', clock_timestamp()) * 1000000)::bigint, s[2] + 1);
  ELSIF l.policy = 'application-weight' THEN
    at := 1 + coalesce(array_position(l.applications, application), clocks);
    s[at] := s[at] + 1;
  END IF;
  at := 1 + clocks + place;
  s[at] := greatest(s[at], used) + 1;
  s[cardinality(s)] := lanekeeper.dc_number();
  RETURN s;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.note_gap(of_kind text, from_timeline integer, to_timeline integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  INSERT INTO lanekeeper.incident (kind, detail) VALUES (of_kind, json_build_object('from', from_timeline, 'to', to_timeline));
  INSERT INTO lanekeeper.conflict_count AS c (subscription, seen, unanswered)
    SELECT s.subname, 0, 1 FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname LIKE 'lanekeeper\_%\_homed'
    ON CONFLICT (subscription) DO UPDATE SET unanswered = c.unanswered + 1, at = clock_timestamp();
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.note_promotion(present integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  before integer := (SELECT max(p.timeline) FROM lanekeeper.promotion p);
BEGIN
  INSERT INTO lanekeeper.promotion (timeline) SELECT present WHERE present > before ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM lanekeeper.note_gap('promoted', before, present);
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.note_put_back(since integer)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT lanekeeper.note_gap('put-back', since, lanekeeper.timeline())
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.note_rollout(of_digest text, of_version text, healthy boolean)
 RETURNS lanekeeper.rollout
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  now_is timestamptz := clock_timestamp();
  noted lanekeeper.rollout;
  back boolean := (SELECT r.digest <> of_digest OR r.version <> of_version FROM lanekeeper.rollout r ORDER BY r.seen_at DESC LIMIT 1);
BEGIN
  INSERT INTO lanekeeper.rollout AS r (digest, version, since, seen_at, healthy_since, was_healthy)
    VALUES (of_digest, of_version, now_is, now_is, CASE WHEN healthy THEN now_is END, healthy)
    ON CONFLICT (digest, version) DO UPDATE SET seen_at = now_is,
      since = CASE WHEN back THEN now_is ELSE r.since END,
      healthy_since = CASE WHEN NOT healthy THEN NULL WHEN back OR r.seen_at < now_is - interval '1 minute' THEN now_is
        ELSE coalesce(r.healthy_since, now_is) END,
      was_healthy = r.was_healthy OR healthy
    RETURNING * INTO noted;
  RETURN noted;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.outcome_of(request text, OUT account text, OUT result jsonb, OUT dc text)
 RETURNS SETOF record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN QUERY SELECT o.account, o.result, o.dc FROM lanekeeper.outcome o WHERE o.request_id = request;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.pin_settings()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM set_config(s[1], s[2], true) FROM (VALUES (ARRAY['DateStyle', 'ISO, YMD']), (ARRAY['IntervalStyle', 'postgres']), (ARRAY['TimeZone', 'UTC']),
    (ARRAY['bytea_output', 'hex']), (ARRAY['extra_float_digits', '1']), (ARRAY['xmloption', 'content']), (ARRAY['lc_monetary', 'C']),
    (ARRAY['lanekeeper.pinned', 'yes'])) pins(s);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.present(d lanekeeper.deed, OUT home text, OUT term bigint, OUT accepted boolean)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
BEGIN
  SELECT l.resolved, l.applied, lanekeeper.landed(l.applied) INTO home, term, accepted
    FROM lanekeeper.lineage l WHERE l.home = d.home AND l.term = d.term;
  IF NOT FOUND THEN
    home := d.home;
    term := d.term;
    accepted := lanekeeper.is_accepted(d);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.publishable(asked text[])
 RETURNS text[]
 LANGUAGE plpgsql
AS $function$
DECLARE
  name text;
  fed_by text;
  found_names text[] := '{}';
BEGIN
  IF cardinality(asked) = 0 THEN
    found_names := ARRAY(SELECT f.relation FROM lanekeeper.fed() f WHERE f.feeder = lanekeeper.dc() AND f.gated AND f.copied IS NOT TRUE ORDER BY 1);
    IF cardinality(found_names) = 0 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('no table is published by %s', lanekeeper.dc());
    END IF;
    RETURN found_names;
  END IF;
  FOREACH name IN ARRAY asked LOOP
    name := CASE WHEN name LIKE '%.%' THEN name ELSE 'public.' || name END;
    SELECT f.feeder INTO fed_by FROM lanekeeper.fed() f WHERE f.relation = name;
    IF fed_by IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is not a table that anybody publishes', name),
        HINT = 'Published are tables declared read-only or static-content.';
    ELSIF fed_by <> lanekeeper.dc() THEN
      PERFORM lanekeeper.refuse('LK007', format('%s is published by %s, not by %s', name, fed_by, lanekeeper.dc()), name, NULL, fed_by,
        NULL, NULL, format('Publish it in %s.', fed_by));
    END IF;
    found_names := found_names || name;
  END LOOP;
  RETURN found_names;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.publishing(VARIADIC tables text[] DEFAULT '{}'::text[])
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  ends timestamptz := clock_timestamp() + interval '1 hour';
BEGIN
  INSERT INTO lanekeeper.publishing (relations, xid, until) VALUES (lanekeeper.publishable(tables), pg_current_xact_id(), ends);
  RETURN ends;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.purge_conflicts(keep interval, at_most integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  purged integer;
BEGIN
  DELETE FROM lanekeeper.conflict WHERE id IN (SELECT c.id FROM lanekeeper.conflict c WHERE c.at < clock_timestamp() - keep ORDER BY c.at LIMIT at_most);
  GET DIAGNOSTICS purged = ROW_COUNT;
  RETURN purged;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.purge_deleted(keep interval, at_most integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  cutoff timestamptz := clock_timestamp() - keep;
  others text[] := ARRAY(SELECT d FROM unnest(lanekeeper.dcs()) d WHERE d <> lanekeeper.dc());
  first_marks jsonb;
  snapshots pg_snapshot[];
  purged integer;
BEGIN
  -- Of each data center, the first mark that came by after the cutoff, and what was here by then.
  SELECT jsonb_object_agg(h.dc, h.mark), array_agg(h.snapshot) INTO first_marks, snapshots FROM (
    SELECT DISTINCT ON (x.dc) x.dc, x.mark, x.snapshot FROM lanekeeper.merge_heard x
      WHERE x.at >= cutoff AND x.dc = ANY (lanekeeper.dcs()) ORDER BY x.dc, x.mark) h;
  DELETE FROM lanekeeper.merge_heard WHERE at < cutoff - interval '1 day';
  IF (SELECT count(*) FROM jsonb_object_keys(coalesce(first_marks, '{}'))) < cardinality(others) + 1 THEN
    RETURN 0;
  END IF;
  IF EXISTS (SELECT FROM unnest(others) o LEFT JOIN lanekeeper.merge_mark m ON m.dc = o, jsonb_each_text(first_marks) f(dc, mark)
      WHERE m.dc IS NULL OR CASE WHEN f.dc = o THEN m.mark ELSE coalesce((m.seen ->> f.dc)::bigint, 0) END < f.mark::bigint) THEN
    RETURN 0;
  END IF;
  WITH gone AS (
    DELETE FROM lanekeeper.version WHERE (relation, key) IN (
      SELECT v.relation, v.key FROM lanekeeper.version v
        WHERE v.deleted AND v.at < cutoff AND (SELECT bool_and(lanekeeper.was_visible(v.xmin, s)) FROM unnest(snapshots) s)
          AND NOT EXISTS (SELECT FROM lanekeeper.merge_pending p WHERE p.relation = v.relation AND p.key = v.key)
        ORDER BY v.at LIMIT at_most FOR UPDATE SKIP LOCKED)
      RETURNING relation, stamp),
  raised AS (
    INSERT INTO lanekeeper.floor AS f (relation, dc, era, stamp)
      SELECT g.relation, lanekeeper.dc(), g.stamp[1], lanekeeper.each_greatest(g.stamp) FROM gone g GROUP BY g.relation, g.stamp[1]
      ON CONFLICT (relation, dc, era) DO UPDATE SET stamp = lanekeeper.each_greatest(f.stamp, excluded.stamp))
  SELECT count(*) INTO purged FROM gone;
  RETURN purged;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.purge_stranded(older_than interval, at_most integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  purged integer;
BEGIN
  UPDATE lanekeeper.stranded SET key = '{}', old_key = NULL, base_columns = NULL, base = NULL, image_columns = NULL, image = NULL, purged_at = clock_timestamp()
    WHERE (dc, generation, end_lsn, sequence) IN (SELECT x.dc, x.generation, x.end_lsn, x.sequence FROM lanekeeper.stranded x
      WHERE x.decided_at < clock_timestamp() - older_than AND x.purged_at IS NULL AND x.recorded_in = lanekeeper.dc() LIMIT at_most);
  GET DIAGNOSTICS purged = ROW_COUNT;
  RETURN purged;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.quoted(of_relation text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  RETURN format('%I.%I', split_part(of_relation, '.', 1), substr(of_relation, strpos(of_relation, '.') + 1));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.read_row(of_relation text, key_columns text[], key text[], lock boolean, OUT columns text[], OUT vals text[], OUT written xid)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET xmloption TO 'content'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
  target oid := lanekeeper.quoted(of_relation)::regclass;
  place text := lanekeeper.quoted(of_relation);
  match text;
  exprs text;
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = target) <> 'p' THEN
    place := 'ONLY ' || place;
  END IF;
  SELECT array_agg(a.attname::text ORDER BY a.attnum),
      string_agg(format('CASE WHEN t.%1$I IS DISTINCT FROM NULL THEN format(''%%s'', t.%1$I) END', a.attname), ', ' ORDER BY a.attnum)
    INTO columns, exprs
    FROM pg_attribute a WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
  SELECT string_agg(CASE WHEN v.value IS NULL THEN format('t.%I IS NULL', v.name)
      ELSE format('t.%I = %L::%s', v.name, v.value, format_type(a.atttypid, a.atttypmod)) END, ' AND ')
    INTO match
    FROM unnest(key_columns, key) v(name, value) JOIN pg_attribute a ON a.attrelid = target AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped;
  EXECUTE format('SELECT ARRAY[%s]::text[], t.xmin FROM %s t WHERE %s LIMIT 1%s', exprs, place, match, CASE WHEN lock THEN ' FOR NO KEY UPDATE' ELSE '' END)
    INTO vals, written;
  IF vals IS NULL THEN
    columns := NULL;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.read_shape(shape text, OUT policy text, OUT dcs bigint[], OUT applications text[])
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  rest text := substr(shape, strpos(shape, '|') + 1);
BEGIN
  policy := split_part(shape, '|', 1);
  dcs := split_part(rest, '|', 1)::bigint[];
  applications := substr(rest, strpos(rest, '|') + 1)::text[];
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.reaffirm()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.tick(1);
  -- Without anything in the log a commit waits for nobody.
  PERFORM pg_logical_emit_message(true, 'lanekeeper', 'reaffirm');
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.record_outcome(request text, for_account text, request_result jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.fence(ARRAY[for_account], 'lanekeeper.outcome');
  INSERT INTO lanekeeper.outcome (account, request_id, result, dc) VALUES (for_account, request, request_result, lanekeeper.dc())
    ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.record_stranded(of_dc text, of_generation bigint, of_term bigint, changes jsonb)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
  seen pg_snapshot := (SELECT t.snapshot FROM lanekeeper.takeover t WHERE t.term = of_term);
  s lanekeeper.stranded;
  prior lanekeeper.stranded;
  found_at text[];
  present record;
  recorded integer := 0;
BEGIN
  FOR s IN SELECT * FROM jsonb_populate_recordset(NULL::lanekeeper.stranded, changes) ORDER BY end_lsn, sequence LOOP
    CONTINUE WHEN EXISTS (SELECT FROM lanekeeper.stranded x
      WHERE x.dc = of_dc AND x.generation = of_generation AND x.end_lsn = s.end_lsn AND (x.sequence = s.sequence OR x.xid < 0 AND s.xid > 0));
    s.dc := of_dc;
    s.generation := of_generation;
    s.term := of_term;
    s.recorded_in := lanekeeper.dc();
    s.recorded_at := clock_timestamp();
    s.state := 'open';
    s.unchanged := coalesce(s.unchanged, '{}');

    found_at := coalesce(s.old_key, s.key);
    SELECT * INTO prior FROM (
        SELECT * FROM lanekeeper.stranded a WHERE a.key = found_at
        UNION ALL SELECT * FROM lanekeeper.stranded b WHERE b.old_key = found_at AND b.key <> found_at) x
      WHERE x.dc = of_dc AND x.generation = of_generation AND x.relation = s.relation AND (x.end_lsn, x.sequence) < (s.end_lsn, s.sequence)
      ORDER BY x.end_lsn DESC, x.sequence DESC LIMIT 1;
    IF s.kind = 'insert' THEN
      s.base_from := 'none';
    ELSIF FOUND THEN
      IF prior.key = found_at AND prior.kind <> 'delete' AND prior.base_from IS NOT NULL AND prior.unchanged = '{}' THEN
        s.base_from := 'chain';
        s.base_columns := prior.image_columns;
        s.base := prior.image;
      END IF;
    ELSIF s.base_from IS NULL THEN
      SELECT * INTO present FROM lanekeeper.read_row(s.relation, s.key_columns, found_at, false);
      IF lanekeeper.was_visible(present.written, seen) THEN
        s.base_from := 'home';
        s.base_columns := present.columns;
        s.base := present.vals;
      END IF;
    END IF;
    IF s.kind = 'update' AND s.base IS NOT NULL AND s.unchanged <> '{}' THEN
      SELECT s.image_columns || coalesce(array_agg(b.name), '{}'), s.image || coalesce(array_agg(b.value), '{}')
        INTO s.image_columns, s.image
        FROM unnest(s.base_columns, s.base) b(name, value) WHERE b.name = ANY (s.unchanged) AND NOT b.name = ANY (s.image_columns);
      s.unchanged := ARRAY(SELECT u FROM unnest(s.unchanged) u WHERE NOT u = ANY (s.image_columns));
    END IF;

    IF s.relation = 'lanekeeper.stranded' AND s.kind = 'insert' THEN
      EXECUTE lanekeeper.row_statement('insert', s.relation, s.key_columns, s.key, s.image_columns, s.image) || ' ON CONFLICT DO NOTHING';
    END IF;
    s.account := coalesce(s.account, lanekeeper.whose(s.relation, s.image_columns, s.image), lanekeeper.whose(s.relation, s.base_columns, s.base));
    IF s.account IS NOT NULL THEN
      s.unresolved := NULL;
    END IF;
    IF s.relation IN ('lanekeeper.acceptance', 'lanekeeper.adoption', 'lanekeeper.succession', 'lanekeeper.subscribed', 'lanekeeper.stranded', 'lanekeeper.homed_as')
       OR s.relation = 'lanekeeper.deed' AND s.kind <> 'insert' THEN
      s.state := 'discarded';
      s.decided_by := 'lanekeeper';
      s.decided_at := clock_timestamp();
      s.decided_in := lanekeeper.dc();
      s.reason := 'bookkeeping: the takeover decided it anew';
    END IF;
    INSERT INTO lanekeeper.stranded SELECT s.*;
    recorded := recorded + 1;
  END LOOP;
  RETURN recorded;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse(state text, message text, relation text, account text, home text, term bigint, counter bigint, hint text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF lanekeeper.mode() = 'observe' THEN
    INSERT INTO lanekeeper.observation (sqlstate, relation, account, message) VALUES (state, relation, account, message);
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, HINT = coalesce(hint, ''),
    DETAIL = json_strip_nulls(json_build_object('account', account, 'home', home, 'term', term, 'counter', counter,
                                                'dc', lanekeeper.dc(), 'table', relation))::text,
    DATATYPE = coalesce(home, ''), TABLE = coalesce(relation, ''), SCHEMA = 'lanekeeper';
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_closed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  missing text;
BEGIN
  SELECT d INTO missing FROM unnest(lanekeeper.dcs()) d WHERE d <> lanekeeper.dc()
    AND (EXISTS (SELECT FROM lanekeeper.member m WHERE m.dc = d) OR NOT EXISTS (SELECT FROM lanekeeper.member))
    AND NOT EXISTS (
      SELECT FROM lanekeeper.subscribed s WHERE s.relation = TG_ARGV[0] AND s.publisher = lanekeeper.dc() AND s.subscriber = d) LIMIT 1;
  IF missing IS NOT NULL THEN
    PERFORM lanekeeper.refuse('LK003', format('%I.%I is not open yet: %s does not read it', TG_TABLE_SCHEMA, TG_TABLE_NAME, missing),
      TG_ARGV[0], NULL, NULL, NULL, NULL, format('Run `lanekeeper apply` in %s, then here again.', missing));
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_missing(accounts text[], relation text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  missing text;
BEGIN
  IF array_position(accounts, NULL) IS NOT NULL THEN
    PERFORM lanekeeper.refuse('LK005', format('a row of %s names no account', relation), relation, NULL, NULL, NULL, NULL,
      'Set its account column, or declare `nullAccount` for this table.');
  END IF;
  FOR missing IN SELECT a FROM unnest(accounts) a WHERE a IS NOT NULL AND NOT EXISTS (SELECT FROM lanekeeper.deed WHERE deed.account = a) LOOP
    PERFORM lanekeeper.refuse('LK002', format('account %s has no deed in %s: unknown here, possibly stranded elsewhere', missing, lanekeeper.dc()),
      relation, missing, NULL, NULL, NULL, 'A deed is born with the account''s row. If that exists elsewhere, its stream is behind: see `lanekeeper status`.');
  END LOOP;
  IF lanekeeper.mode() <> 'observe' AND EXISTS (SELECT FROM unnest(accounts) a WHERE a IS NOT NULL) AND array_position(accounts, NULL) IS NULL THEN
    -- The deed came between the look and this one; the lock has not been taken, so the statement must be tried again.
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'could not serialize access: the account''s deed has just arrived';
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_old_view()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'could not serialize access: the data centers have a new view of who may write';
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_plain_write(of_relation text, pattern text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.refuse('LK020', format('%s is written in every data center (writes: %s), and plain SQL would write it in %s only', of_relation, pattern, lanekeeper.dc()),
    of_relation, NULL, NULL, NULL, NULL, format('Use everywhere(''%s'').put(…) or remove(…) of the SDK.', of_relation));
END $function$;
-- may be called by everybody

CREATE OR REPLACE FUNCTION lanekeeper.refuse_truncate()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.refuse('LK006', format('TRUNCATE of %I.%I is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME),
    format('%s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME), NULL, NULL, NULL, NULL, 'Use DELETE with a condition: it is fenced row by row and replicated.');
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_unless_feeder()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF TG_ARGV[0] <> lanekeeper.dc() THEN
    PERFORM lanekeeper.refuse('LK007', format('%I.%I is published by %s and read only in %s', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0], lanekeeper.dc()),
      format('%s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME), NULL, TG_ARGV[0], NULL, NULL, format('Write it in %s.', TG_ARGV[0]));
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_unless_publishing()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF TG_ARGV[0] <> lanekeeper.dc() THEN
    PERFORM lanekeeper.refuse('LK007', format('%s is published by %s and read only in %s', TG_ARGV[1], TG_ARGV[0], lanekeeper.dc()),
      TG_ARGV[1], NULL, TG_ARGV[0], NULL, NULL, format('Publish it in %s.', TG_ARGV[0]));
  ELSIF NOT lanekeeper.may_publish(TG_ARGV[1]) THEN
    PERFORM lanekeeper.refuse('LK007', format('%s is read only outside publishing', TG_ARGV[1]), TG_ARGV[1], NULL, TG_ARGV[0], NULL, NULL,
      CASE TG_ARGV[2] WHEN 'copy' THEN format('It is a copy of other tables: `lanekeeper copies refresh %s` makes it anew.', TG_ARGV[1])
        ELSE format('As the owner, SELECT lanekeeper.publishing(%L) first in the same transaction; or `lanekeeper publish`.', TG_ARGV[1]) END);
  END IF;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.refuse_unless_spread()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF current_setting('lanekeeper.spreading', true) = 'on'
     AND current_user = (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'lanekeeper') THEN
    RETURN NULL;
  END IF;
  PERFORM lanekeeper.refuse_plain_write(format('%s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME), TG_ARGV[0]);
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.release_claim(claim_name text, claim_value text, of_account text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(claim_name, normal)], 'lanekeeper.claim', 1);
  IF lanekeeper.claim_in_use(claim_name, normal, of_account) THEN
    UPDATE lanekeeper.claim SET confirmed = false, claimed_at = clock_timestamp()
      WHERE name = claim_name AND value = normal AND account = of_account;
  ELSE
    DELETE FROM lanekeeper.claim WHERE name = claim_name AND value = normal AND account = of_account;
  END IF;
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.release_session(owner text, key text, session text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.outcome o WHERE o.account = owner AND o.request_id = key AND o.result ->> 'session' = session) THEN
    PERFORM lanekeeper.fence(ARRAY[owner], 'lanekeeper.outcome');
    UPDATE lanekeeper.outcome o SET result = '{}', at = clock_timestamp() WHERE o.account = owner AND o.request_id = key AND o.result ->> 'session' = session;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.renew_publishing(number bigint, for_ms bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  UPDATE lanekeeper.publishing SET until = clock_timestamp() + make_interval(secs => least(for_ms, 86400000) / 1000.0)
    WHERE id = number AND xid IS NULL AND ended_at IS NULL AND until > clock_timestamp();
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.require_claim(claim_name text, claim_value text, for_account text, relation text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  c lanekeeper.claim;
BEGIN
  SELECT * INTO c FROM lanekeeper.claim WHERE name = claim_name AND value = lanekeeper.claim_normal(claim_name, claim_value) FOR KEY SHARE;
  IF FOUND AND c.account = for_account AND (c.confirmed OR c.claimed_at > clock_timestamp() - interval '5 minutes') THEN
    RETURN;
  END IF;
  PERFORM lanekeeper.refuse('LK008', format('this %s is %s', claim_name, CASE WHEN c.account IS NULL OR c.account = for_account THEN 'not claimed' ELSE 'claimed by another account' END),
    relation, for_account, NULL, NULL, NULL, format('Call claim(''%s'', …) before the insert.', claim_name));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.require_pattern(of_relation text, wanted text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF lanekeeper.spread_pattern(of_relation) IS DISTINCT FROM wanted THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not declared with writes: %s in %s', of_relation, wanted, lanekeeper.dc());
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.resend(of_relation text, of_key_columns text[], of_key text[], of_account text DEFAULT NULL::text)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  r record;
  owner text;
  d lanekeeper.deed;
  latest bigint;
  number bigint;
BEGIN
  IF to_regclass(lanekeeper.quoted(of_relation)) IS NULL THEN
    RETURN 'no-such-table';
  END IF;
  SELECT * INTO r FROM lanekeeper.read_row(of_relation, of_key_columns, of_key, true);
  IF r.columns IS NULL THEN
    owner := of_account;
  ELSE
    owner := lanekeeper.guardian(of_relation, r.columns, r.vals);
    IF owner IS NULL AND of_relation NOT LIKE 'lanekeeper.%' THEN
      RETURN 'unknown-account';
    END IF;
  END IF;
  IF owner IS NOT NULL THEN
    -- As the fence does, so that a move or a succession waits for this too.
    SELECT deed.* INTO d FROM lanekeeper.deed WHERE account = owner FOR SHARE;
    SELECT max(s.term) INTO latest FROM lanekeeper.succession s;
    IF coalesce(latest, 1) < pg_sequence_last_value('lanekeeper.view'::regclass) THEN
      PERFORM lanekeeper.refuse_old_view();
    ELSIF d.account IS NOT NULL AND lanekeeper.resolve(d.home, d.term) <> lanekeeper.dc() AND of_relation <> 'lanekeeper.deed' THEN
      RETURN 'elsewhere';
    END IF;
  END IF;
  INSERT INTO lanekeeper.repair (dc, relation, key_columns, key, columns, vals)
    VALUES (lanekeeper.dc(), of_relation, of_key_columns, of_key, r.columns, r.vals) RETURNING repair.id INTO number;
  DELETE FROM lanekeeper.repair WHERE repair.dc = lanekeeper.dc() AND repair.id = number;
  RETURN CASE WHEN r.columns IS NULL THEN 'absent' ELSE 'sent' END;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.resend_own(of_relation text, of_key_columns text[], of_key text[], of_account text, first boolean)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  r record;
  owner text := of_account;
  d lanekeeper.deed;
BEGIN
  IF to_regclass(lanekeeper.quoted(of_relation)) IS NULL THEN
    RETURN 'no-such-table';
  END IF;
  SELECT * INTO r FROM lanekeeper.read_row(of_relation, of_key_columns, of_key, true);
  IF r.columns IS NOT NULL THEN
    owner := lanekeeper.guardian(of_relation, r.columns, r.vals);
    IF owner IS NULL AND of_relation NOT LIKE 'lanekeeper.%' THEN
      RETURN 'unknown-account';
    END IF;
  END IF;
  SELECT deed.* INTO d FROM lanekeeper.deed WHERE account = owner FOR SHARE;
  IF d.account IS NULL THEN
    -- Nobody's acceptance is the mark of a switchover: whoever has to put it down does that again (`land`), in its own stream.
    IF r.columns IS NULL OR of_relation = 'lanekeeper.acceptance' AND of_key[array_position(of_key_columns, 'account')] = '' THEN
      RETURN 'nobodys';
    ELSIF NOT first THEN
      RETURN 'elsewhere';
    END IF;
  ELSIF lanekeeper.resolve(d.home, d.term) <> lanekeeper.dc() THEN
    RETURN 'elsewhere';
  END IF;
  RETURN lanekeeper.resend(of_relation, of_key_columns, of_key, owner);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.resolve(deed_home text, deed_term bigint)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
BEGIN
  RETURN coalesce((SELECT l.resolved FROM lanekeeper.lineage l WHERE l.home = deed_home AND l.term = deed_term), deed_home);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.row_statement(kind text, of_relation text, key_columns text[], key text[], columns text[], vals text[])
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  target oid := lanekeeper.quoted(of_relation)::regclass;
  place text := lanekeeper.quoted(of_relation);
  match text;
  missing text;
  names text;
  literals text;
  pairs text;
BEGIN
  IF kind <> 'insert' AND (SELECT relkind FROM pg_class WHERE oid = target) <> 'p' THEN
    place := 'ONLY ' || place;
  END IF;
  IF kind <> 'insert' THEN
    SELECT string_agg(CASE WHEN v.value IS NULL THEN format('t.%I IS NULL', v.name)
        ELSE format('t.%I = %L::%s', v.name, v.value, format_type(a.atttypid, a.atttypmod)) END, ' AND '), max(v.name) FILTER (WHERE a.attname IS NULL)
      INTO match, missing
      FROM unnest(key_columns, key) v(name, value) LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped;
    IF missing IS NOT NULL OR match IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('%s has no column %s', of_relation, coalesce(missing, 'that is its key'));
    END IF;
    IF kind = 'delete' THEN
      RETURN format('DELETE FROM %s t WHERE %s', place, match);
    END IF;
  END IF;
  SELECT string_agg(format('%I', v.name), ', '), string_agg(format('%L::%s', v.value, format_type(a.atttypid, a.atttypmod)), ', '),
      string_agg(format('%I = %L::%s', v.name, v.value, format_type(a.atttypid, a.atttypmod)), ', '), max(v.name) FILTER (WHERE a.attname IS NULL)
    INTO names, literals, pairs, missing
    FROM unnest(columns, vals) v(name, value) LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped
    WHERE coalesce(a.attgenerated, '') = '';
  IF missing IS NOT NULL OR names IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('%s has no column %s', of_relation, coalesce(missing, 'to write'));
  END IF;
  IF kind = 'update' THEN
    RETURN format('UPDATE %s t SET %s WHERE %s', place, pairs, match);
  END IF;
  RETURN format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)', place, names, literals);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.send_waiting(of_part integer)
 RETURNS void
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
  together boolean := lanekeeper.batches_are_read();
  places tid[];
BEGIN
  WITH gone AS (
    DELETE FROM lanekeeper.written w WHERE w.xid = pg_current_xact_id() AND w.part = of_part RETURNING w.*),
  alike AS (
    SELECT g.*, (row_number() OVER way - 1) / 500 AS turn, sum(coalesce(pg_column_size(g.vals), 0)) OVER way / 1000000 AS size FROM gone g
      WINDOW way AS (PARTITION BY g.relation, g.shape, g.columns, g.application, g.stamp[1], cardinality(g.stamp), cardinality(g.root) ORDER BY g.key)),
  sent AS (
    INSERT INTO lanekeeper.change (relation, key, stamp, root, shape, columns, vals, application, at)
      SELECT CASE WHEN count(*) = 1 THEN a.relation ELSE 'batch:' || a.relation END,
          CASE WHEN count(*) = 1 THEN min(a.key) ELSE ARRAY[gen_random_uuid()::text] END,
          CASE WHEN count(*) = 1 THEN min(a.stamp) ELSE array_agg(a.stamp || (extract(epoch FROM a.at) * 1000000)::bigint ORDER BY a.key) END,
          CASE WHEN count(*) = 1 THEN min(a.root) ELSE array_agg(a.root ORDER BY a.key) FILTER (WHERE a.root IS NOT NULL) END,
          a.shape, a.columns,
          CASE WHEN count(*) = 1 THEN min(a.vals) ELSE array_agg(a.key || a.vals ORDER BY a.key) END,
          a.application, max(a.at)
        FROM alike a
        GROUP BY a.relation, a.shape, a.columns, a.application, a.stamp[1], cardinality(a.stamp), cardinality(a.root), a.turn, a.size,
          CASE WHEN NOT together THEN a.key END
      RETURNING ctid)
  SELECT array_agg(s.ctid) INTO places FROM sent s;
  IF places IS NOT NULL THEN
    DELETE FROM lanekeeper.change WHERE ctid = ANY (places);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.send_written()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  PERFORM lanekeeper.send_waiting(NEW.part);
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.set_lease(valid_until_ms bigint, valid_until_uptime_ms bigint DEFAULT NULL::bigint)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF valid_until_ms > 1 AND coalesce(lanekeeper.lease_left_ms(), 0) <= 0 THEN
    PERFORM lanekeeper.settle_view();
  END IF;
  PERFORM setval('lanekeeper.lease_length', greatest(valid_until_ms - (date_part('epoch', clock_timestamp()) * 1000)::bigint, 1));
  PERFORM setval('lanekeeper.lease_uptime', greatest(coalesce(valid_until_uptime_ms, 1), 1));
  PERFORM setval('lanekeeper.lease', greatest(valid_until_ms, 1));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.set_sync_members(members integer, awaited text[] DEFAULT '{}'::text[])
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF members IS NULL OR members < 0 OR array_position(awaited, NULL) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the number of data centers that are waited for cannot be negative, and each has a name';
  END IF;
  DELETE FROM lanekeeper.sync_peer WHERE NOT slot = ANY (awaited);
  INSERT INTO lanekeeper.sync_peer SELECT unnest(awaited) ON CONFLICT DO NOTHING;
  PERFORM setval('lanekeeper.sync_members', members + 1);
  PERFORM setval('lanekeeper.sync_awaited', cardinality(awaited) + 1);
  RETURN nextval('lanekeeper.sync_view');
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.settle_view()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  latest bigint;
BEGIN
  LOCK TABLE lanekeeper.succession IN SHARE MODE;
  SELECT coalesce(max(term), 1) INTO latest FROM lanekeeper.succession;
  IF latest <> pg_sequence_last_value('lanekeeper.view'::regclass) THEN
    PERFORM setval('lanekeeper.view', latest);
  END IF;
  RETURN latest;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.singleton_base(of_name text)
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
DECLARE
  p record;
  c bigint;
BEGIN
  IF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    RETURN NULL;
  END IF;
  SELECT x.home, x.term, x.accepted, d.counter INTO p FROM lanekeeper.deed d, lanekeeper.present(d) x WHERE d.account = 'fixed:' || of_name;
  IF NOT FOUND OR p.home <> lanekeeper.dc() OR NOT p.accepted
     OR EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account IN ('fixed:' || of_name, '*') AND x.until > clock_timestamp()) THEN
    RETURN NULL;
  END IF;
  RETURN (p.term << 42) + (p.counter << 24);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.singleton_lock(of_name text, of_everywhere boolean)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$ SELECT pg_catalog.hashtextextended('lanekeeper.singleton ' || of_name, of_everywhere::integer) $function$;

CREATE OR REPLACE FUNCTION lanekeeper.spread_apply(of_relation text, of_key text[], image jsonb, of_stamp bigint, of_dc text, of_number bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  -- Nothing could ever be written over it.
  IF of_stamp > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 86400000000 THEN
    RAISE EXCEPTION USING ERRCODE = '22008', MESSAGE = format('this write is from tomorrow: compare the clocks of %s and %s', of_dc, lanekeeper.dc());
  END IF;
  INSERT INTO lanekeeper.spread AS s (relation, key, stamp, dc, number, removed)
    VALUES (of_relation, of_key, of_stamp, of_dc, of_number, image IS NULL)
    ON CONFLICT (relation, key) DO UPDATE
      SET stamp = EXCLUDED.stamp, dc = EXCLUDED.dc, number = EXCLUDED.number, removed = EXCLUDED.removed, at = clock_timestamp()
      WHERE s.stamp < EXCLUDED.stamp
        OR s.stamp = EXCLUDED.stamp AND (s.dc COLLATE "C" < EXCLUDED.dc OR s.dc = EXCLUDED.dc AND s.number < EXCLUDED.number);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM set_config('lanekeeper.spreading', 'on', true);
  PERFORM lanekeeper.spread_write(of_relation, of_key, image);
  PERFORM set_config('lanekeeper.spreading', 'off', true);
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.spread_apply_all(writes jsonb)
 RETURNS TABLE(place integer, outcome text, state text, message text)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  w record;
  outcomes text[];
BEGIN
  -- Also what is checked late is checked here, where it is known whose fault it is.
  SET CONSTRAINTS ALL IMMEDIATE;
  BEGIN
    -- By key, so that two who write the same keys do not wait for each other.
    FOR w IN
      SELECT r.* FROM ROWS FROM (jsonb_to_recordset(writes) AS (relation text, key text[], image jsonb, stamp bigint, dc text, number bigint))
        WITH ORDINALITY AS r (relation, key, image, stamp, dc, number, ordinality) ORDER BY r.relation, r.key, r.ordinality
    LOOP
      outcomes[w.ordinality] := CASE WHEN lanekeeper.spread_apply(w.relation, w.key, nullif(w.image, 'null'), w.stamp, w.dc, w.number) THEN 'written' ELSE 'known' END;
    END LOOP;
    RETURN QUERY SELECT o.ordinality::integer, o.outcome, NULL::text, NULL::text FROM unnest(outcomes) WITH ORDINALITY o (outcome, ordinality);
    RETURN;
  EXCEPTION WHEN others THEN
    IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
      RAISE;
    END IF;
  END;
  place := 0;
  FOR w IN SELECT * FROM jsonb_to_recordset(writes) AS r (relation text, key text[], image jsonb, stamp bigint, dc text, number bigint) LOOP
    place := place + 1;
    state := NULL;
    message := NULL;
    BEGIN
      outcome := CASE WHEN lanekeeper.spread_apply(w.relation, w.key, nullif(w.image, 'null'), w.stamp, w.dc, w.number) THEN 'written' ELSE 'known' END;
    EXCEPTION WHEN others THEN
      IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
        RAISE;
      END IF;
      outcome := 'refused';
      state := SQLSTATE;
      message := SQLERRM;
    END;
    RETURN NEXT;
  END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.spread_defaults(of_table regclass, given jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
AS $function$
DECLARE
  c record;
  value jsonb;
  result jsonb := '{}';
BEGIN
  FOR c IN
    SELECT a.attname, pg_get_expr(d.adbin, d.adrelid) AS expression, format_type(a.atttypid, a.atttypmod) AS type
      FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = of_table AND a.attgenerated = '' AND NOT a.attisdropped AND NOT given ? a.attname
  LOOP
    EXECUTE format('SELECT to_jsonb((%s)::%s)', c.expression, c.type) INTO value;
    result := result || jsonb_build_object(c.attname, value);
  END LOOP;
  RETURN result;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.spread_stamp(of_relation text, of_key text[])
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(of_relation || of_key::text, 7239014));
  RETURN greatest(
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    (SELECT s.stamp + 1 FROM lanekeeper.spread s WHERE s.relation = of_relation AND s.key = of_key),
    (SELECT max(l.stamp) + 1 FROM lanekeeper.buffer_log l WHERE l.relation = of_relation AND l.key = of_key));
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.succeed(new_term bigint, new_kind text, new_from text, new_to text, new_undoes bigint, new_cuts jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  INSERT INTO lanekeeper.succession (term, kind, from_dc, to_dc, undoes, cuts) VALUES (new_term, new_kind, new_from, new_to, new_undoes, new_cuts);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF new_kind = 'take' AND new_to = lanekeeper.dc() THEN
    INSERT INTO lanekeeper.takeover (term, snapshot) VALUES (new_term, pg_current_snapshot()) ON CONFLICT DO NOTHING;
  END IF;
  DELETE FROM lanekeeper.drain WHERE account = '*';
  PERFORM lanekeeper.count_drains();
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.sweep()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  oldest xid8 := pg_snapshot_xmin(pg_current_snapshot());
  ticks bigint;
  partings bigint;
BEGIN
  DELETE FROM lanekeeper.tick WHERE xid < oldest;
  GET DIAGNOSTICS ticks = ROW_COUNT;
  DELETE FROM lanekeeper.parting WHERE xid < oldest;
  GET DIAGNOSTICS partings = ROW_COUNT;
  DELETE FROM lanekeeper.instance i WHERE NOT lanekeeper.is_alive(i);
  RETURN ticks + partings;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.sweep_claims(at_most integer DEFAULT 100)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  c lanekeeper.claim;
  freed integer := 0;
BEGIN
  FOR c IN
    SELECT claim.* FROM lanekeeper.claim JOIN lanekeeper.deed ON deed.account = lanekeeper.claim_bucket(claim.name, claim.value)
      WHERE NOT claim.confirmed AND claim.claimed_at < clock_timestamp() - interval '15 minutes'
        AND lanekeeper.resolve(deed.home, deed.term) = lanekeeper.dc()
      ORDER BY claim.claimed_at LIMIT at_most
  LOOP
    PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(c.name, c.value)], 'lanekeeper.claim');
    IF lanekeeper.claim_in_use(c.name, c.value, c.account) THEN
      UPDATE lanekeeper.claim SET confirmed = true WHERE name = c.name AND value = c.value;
    ELSE
      DELETE FROM lanekeeper.claim WHERE name = c.name AND value = c.value;
      freed := freed + 1;
    END IF;
  END LOOP;
  RETURN freed;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.sync_state(OUT view bigint, OUT members integer, OUT guarded boolean)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  members := coalesce(pg_sequence_last_value('lanekeeper.sync_members'::regclass), 1) - 1;
  guarded := current_setting('synchronous_standby_names') LIKE '%lanekeeper_pad%';
  view := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.tell(of_relation text, of_key text[], of_stamp bigint[], of_shape text, of_vals text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  place tid;
BEGIN
  INSERT INTO lanekeeper.change (relation, key, stamp, shape, vals, at)
    VALUES (of_relation, of_key, of_stamp, of_shape, of_vals, clock_timestamp()) RETURNING ctid INTO place;
  DELETE FROM lanekeeper.change WHERE ctid = place;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.tell_deed()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  news text := json_build_object('kind', 'deed', 'account', NEW.account, 'home', NEW.home, 'term', NEW.term, 'counter', NEW.counter,
                                 'giver', NEW.giver, 'returned', NEW.digest IS NULL)::text;
BEGIN
  PERFORM pg_notify('lanekeeper_agent', news);
  PERFORM pg_notify('lanekeeper_app', news);
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.tell_hook(of_kind text, of_key text, message json, waiting_max integer)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF (SELECT count(*) FROM (SELECT FROM lanekeeper.hook WHERE kind = of_kind AND next_at IS NOT NULL LIMIT waiting_max) w) >= waiting_max THEN
    RETURN false;
  END IF;
  INSERT INTO lanekeeper.hook (kind, key, body) VALUES (of_kind, of_key, message) ON CONFLICT DO NOTHING;
  RETURN found;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.tell_succession()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  news text := json_build_object('kind', 'succession', 'term', NEW.term, 'how', NEW.kind, 'from', NEW.from_dc, 'to', NEW.to_dc)::text;
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term > NEW.term) THEN
    PERFORM lanekeeper.fold();
  ELSE
    PERFORM lanekeeper.fold_in(NEW);
  END IF;
  IF NEW.from_dc = lanekeeper.dc() THEN
    PERFORM setval('lanekeeper.view', greatest(NEW.term, pg_sequence_last_value('lanekeeper.view'::regclass)));
  END IF;
  PERFORM pg_notify('lanekeeper_agent', news);
  PERFORM pg_notify('lanekeeper_app', news);
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.tend_singletons(of_instance text, names text[], everywheres boolean[], numbers bigint[])
 RETURNS TABLE(at integer, granted bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  base bigint;
BEGIN
  FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
    at := i;
    granted := NULL;
    base := CASE WHEN everywheres[i] THEN lanekeeper.singleton_base(names[i]) ELSE 0 END;
    IF numbers[i] IS NOT NULL THEN
      -- A number of an epoch before: the home went away and came back.
      SELECT s.number INTO granted FROM lanekeeper.singleton s
        WHERE s.name = names[i] AND s.everywhere = everywheres[i] AND s.number = numbers[i] AND s.number > base;
    ELSIF base IS NOT NULL AND pg_try_advisory_lock(lanekeeper.singleton_lock(names[i], everywheres[i])) THEN
      BEGIN
        -- Whoever ran before may be in a transaction that guards itself: it ends first.
        PERFORM FROM lanekeeper.singleton s WHERE s.name = names[i] AND s.everywhere = everywheres[i] FOR UPDATE NOWAIT;
        INSERT INTO lanekeeper.singleton AS s (name, everywhere, number, instance) VALUES (names[i], everywheres[i], base + 1, of_instance)
          ON CONFLICT (name, everywhere) DO UPDATE SET number = greatest(s.number, base) + 1, instance = excluded.instance, since = excluded.since
          RETURNING s.number INTO granted;
      EXCEPTION WHEN lock_not_available THEN
        granted := NULL;
      END;
      IF granted IS NULL THEN
        PERFORM pg_advisory_unlock(lanekeeper.singleton_lock(names[i], everywheres[i]));
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.tick(wanted integer DEFAULT 0)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
DECLARE
  place text := current_setting('lanekeeper.tick', true);
  ticked tid;
BEGIN
  IF place <> '' THEN
    PERFORM FROM lanekeeper.tick WHERE ctid = place::tid AND xid = pg_current_xact_id() AND durability >= wanted;
    IF FOUND THEN
      RETURN true;
    END IF;
  END IF;
  INSERT INTO lanekeeper.tick (xid, durability) VALUES (pg_current_xact_id(), wanted) RETURNING ctid INTO ticked;
  PERFORM set_config('lanekeeper.tick', ticked::text, true);
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.timeline()
 RETURNS integer
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
  SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
$function$;

CREATE OR REPLACE FUNCTION lanekeeper.touch(used_account text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF NOT EXISTS (SELECT FROM lanekeeper.activity a WHERE a.account = used_account AND a.at > clock_timestamp() - interval '1 minute') THEN
    INSERT INTO lanekeeper.activity AS a (account, at) VALUES (used_account, clock_timestamp())
      ON CONFLICT (account) DO UPDATE SET at = excluded.at WHERE a.at < excluded.at;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.touch_deeds(accounts text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  one text;
BEGIN
  FOR one IN SELECT DISTINCT a FROM unnest(accounts) a WHERE a IS NOT NULL ORDER BY a LOOP
    UPDATE lanekeeper.deed SET home = home WHERE account = one;
  END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.undo_rows(keys jsonb)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
AS $function$
DECLARE
  k record;
  n integer;
  undone integer := 0;
BEGIN
  IF current_setting('session_replication_role') <> 'replica' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'rows are undone as replica only';
  END IF;
  FOR k IN SELECT * FROM jsonb_to_recordset(keys) AS x(relation text, key_columns text[], key text[], keep text) LOOP
    CONTINUE WHEN k.keep IS NOT NULL AND EXISTS (SELECT FROM lanekeeper.deed d
      WHERE d.account = k.key[1] AND (d.home, d.term, d.counter) = (k.keep, 1, 0));
    EXECUTE lanekeeper.row_statement('delete', k.relation, k.key_columns, k.key, NULL, NULL);
    GET DIAGNOSTICS n = ROW_COUNT;
    undone := undone + n;
    IF n > 0 AND k.keep IS NOT NULL THEN
      INSERT INTO lanekeeper.deed (account, home, term, counter) VALUES (k.key[1], k.keep, 1, 0);
    END IF;
  END LOOP;
  RETURN undone;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.was_visible(written xid, seen pg_snapshot)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  low numeric := written::text::numeric;
  upper_bound numeric := pg_snapshot_xmax(pg_current_snapshot())::text::numeric;
  whole numeric := upper_bound - mod(upper_bound, 4294967296) + low;
BEGIN
  IF seen IS NULL THEN
    RETURN false;
  ELSIF low < 3 THEN
    RETURN true; -- frozen
  ELSIF whole > upper_bound THEN
    whole := whole - 4294967296;
  END IF;
  RETURN whole < 0 OR pg_visible_in_snapshot(whole::text::xid8, seen);
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.where_is(asked text, OUT home text, OUT term bigint, OUT counter bigint, OUT accepted boolean, OUT draining boolean)
 RETURNS SETOF record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
  owner text := CASE WHEN lanekeeper.homes() = 'single' AND asked NOT LIKE 'fixed:%' THEN '*' ELSE asked END;
BEGIN
  RETURN QUERY SELECT p.home, p.term, d.counter, p.accepted,
    EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account IN (d.account, '*') AND x.until > clock_timestamp())
    FROM lanekeeper.deed d, lanekeeper.present(d) p WHERE d.account = owner;
END $function$;

CREATE OR REPLACE FUNCTION lanekeeper.whose(of_relation text, columns text[], vals text[])
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
  IF of_relation IN ('lanekeeper.deed', 'lanekeeper.acceptance', 'lanekeeper.adoption', 'lanekeeper.outcome', 'lanekeeper.claim') THEN
    RETURN vals[array_position(columns, 'account')];
  ELSIF of_relation LIKE 'lanekeeper.%' THEN
    RETURN NULL;
  END IF;
  RETURN lanekeeper.account_of(of_relation, columns, vals);
END $function$;

-- ── Triggers ────────────────────────────────────────────────────────────────────────
CREATE TRIGGER hold_acceptance BEFORE INSERT ON lanekeeper.acceptance FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_acceptance();
ALTER TABLE lanekeeper.acceptance ENABLE REPLICA TRIGGER hold_acceptance;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.acceptance FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.acceptance ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER hold_adoption BEFORE INSERT ON lanekeeper.adoption FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_adoption();
ALTER TABLE lanekeeper.adoption ENABLE REPLICA TRIGGER hold_adoption;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.adoption FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.adoption ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER apply_change BEFORE INSERT ON lanekeeper.change FOR EACH ROW EXECUTE FUNCTION lanekeeper.apply_change();
ALTER TABLE lanekeeper.change ENABLE REPLICA TRIGGER apply_change;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.change FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.change ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER guard_claim BEFORE INSERT ON lanekeeper.claim FOR EACH ROW EXECUTE FUNCTION lanekeeper.guard_claim();
ALTER TABLE lanekeeper.claim ENABLE REPLICA TRIGGER guard_claim;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.claim FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.claim ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.copy FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.copy ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER await_succession BEFORE INSERT OR UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_deed();
ALTER TABLE lanekeeper.deed ENABLE REPLICA TRIGGER await_succession;
CREATE TRIGGER guard_epoch BEFORE INSERT OR UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.guard_epoch();
ALTER TABLE lanekeeper.deed ENABLE ALWAYS TRIGGER guard_epoch;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.deed ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER tell_deed AFTER UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.tell_deed();
ALTER TABLE lanekeeper.deed ENABLE REPLICA TRIGGER tell_deed;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.homed_as FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.homed_as ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.outcome FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.outcome ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER apply_repair BEFORE INSERT ON lanekeeper.repair FOR EACH ROW EXECUTE FUNCTION lanekeeper.apply_repair();
ALTER TABLE lanekeeper.repair ENABLE REPLICA TRIGGER apply_repair;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.repair FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.repair ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.stranded FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.stranded ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.subscribed FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.subscribed ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER guard_succession BEFORE INSERT ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.guard_succession();
ALTER TABLE lanekeeper.succession ENABLE ALWAYS TRIGGER guard_succession;
CREATE TRIGGER keep_snapshot AFTER INSERT ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.keep_snapshot();
ALTER TABLE lanekeeper.succession ENABLE ALWAYS TRIGGER keep_snapshot;
CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR DELETE OR UPDATE ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival();
ALTER TABLE lanekeeper.succession ENABLE REPLICA TRIGGER lanekeeper_arrival;
CREATE TRIGGER tell_succession AFTER INSERT ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.tell_succession();
ALTER TABLE lanekeeper.succession ENABLE ALWAYS TRIGGER tell_succession;
CREATE CONSTRAINT TRIGGER lanekeeper_commit AFTER INSERT ON lanekeeper.tick DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lanekeeper.check_commit();
CREATE CONSTRAINT TRIGGER send_written AFTER INSERT ON lanekeeper.written DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.opens) EXECUTE FUNCTION lanekeeper.send_written();
