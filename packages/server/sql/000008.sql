-- Shared rows: written in every data center, merged by their stamps. The argument why that converges is in
-- docs/internals/merge.md; what differs from table to table is generated: src/postgres/merge/.
--
-- A stamp is `{era, policy part…, dc}`. The larger one wins, compared from the left; a write makes one that is nowhere
-- smaller than the one it was made on. What has no version has the stamp of the table's floor, or none.

-- ── Tables: all local, but for what passes through `change` ──────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.layout (
  relation text NOT NULL,
  era bigint NOT NULL,
  shape text NOT NULL,
  policy text NOT NULL,
  dcs bigint[] NOT NULL,
  applications text[] NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (relation, era)
);
COMMENT ON TABLE lanekeeper.layout IS 'What the places of a stamp mean, by era. An era is 1000 × n + the number of the data center that declared it, so that no two declare the same. Travels with every change.';
COMMENT ON COLUMN lanekeeper.layout.shape IS '`policy|{dcs}|{applications}`, the heaviest first.';

CREATE TABLE lanekeeper.version (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  deleted boolean NOT NULL DEFAULT false,
  application text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (relation, key)
) WITH (fillfactor = 85);
CREATE INDEX version_deleted ON lanekeeper.version (at) WHERE deleted;
COMMENT ON TABLE lanekeeper.version IS 'The stamp of every shared row that was written since it is merged, deleted ones included until they are purged.';
COMMENT ON COLUMN lanekeeper.version.root IS 'The stamp of an earlier era on which the first write of this one was made.';
COMMENT ON COLUMN lanekeeper.version.at IS 'When the row was written, in the data center where it was.';

CREATE TABLE lanekeeper.change (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  shape text,
  columns text[],
  vals text[],
  application text,
  at timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1);
COMMENT ON TABLE lanekeeper.change IS 'The merge log. Every row is deleted by the transaction that writes it, so the table is always empty; only the insert is published. Without columns: the row is deleted. A relation of the schema lanekeeper: news from one data center to the others.';

CREATE TABLE lanekeeper.merge_pending (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  LIKE lanekeeper.change,
  reason text NOT NULL,
  sqlstate text,
  tries integer NOT NULL DEFAULT 0,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX merge_pending_row ON lanekeeper.merge_pending (relation, key);
COMMENT ON TABLE lanekeeper.merge_pending IS 'Changes that arrived while their row was locked, or that could not be written. The agent finishes them.';
COMMENT ON COLUMN lanekeeper.merge_pending.sqlstate IS 'Null: the row was locked.';

CREATE TABLE lanekeeper.floor (
  relation text NOT NULL,
  dc text NOT NULL,
  stamp bigint[] NOT NULL,
  PRIMARY KEY (relation, dc)
);
COMMENT ON TABLE lanekeeper.floor IS 'The largest stamp of a deleted row that a data center has forgotten. A row without a version begins there.';

CREATE TABLE lanekeeper.merge_mark (
  dc text PRIMARY KEY,
  mark bigint NOT NULL,
  seen jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.merge_mark IS 'How far each data center has merged what the others wrote: their latest marks that it has seen while nothing was pending.';

CREATE TABLE lanekeeper.merge_heard (
  dc text NOT NULL,
  mark bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
  PRIMARY KEY (dc, mark)
);
COMMENT ON TABLE lanekeeper.merge_heard IS 'When each mark came by here, and what was there by then.';

CREATE TABLE lanekeeper.conflict (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_in text NOT NULL,
  relation text NOT NULL,
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  policy text NOT NULL,
  era bigint NOT NULL,
  winner_dc text NOT NULL,
  winner_application text,
  winner_at timestamptz NOT NULL,
  winner_stamp bigint[] NOT NULL,
  winner_columns text[],
  winner text[],
  loser_dc text NOT NULL,
  loser_application text,
  loser_at timestamptz NOT NULL,
  loser_stamp bigint[] NOT NULL,
  loser_columns text[],
  loser text[]
);
CREATE INDEX conflict_at ON lanekeeper.conflict (at);
CREATE INDEX conflict_row ON lanekeeper.conflict (relation, key);
COMMENT ON TABLE lanekeeper.conflict IS 'Two writes to one shared row, neither of which had seen the other, and which of them stays. Only here: every data center in which the two met has a row of its own, with the same two stamps.';
COMMENT ON COLUMN lanekeeper.conflict.winner IS 'The row as text, its columns named by `winner_columns`; null when it was deleted. Likewise `loser`.';
COMMENT ON COLUMN lanekeeper.conflict.winner_at IS 'When it was written, by the clock of where it was.';
