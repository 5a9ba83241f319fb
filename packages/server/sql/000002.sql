-- What `lanekeeper apply` remembers of its own work, so that `plan` can say what is new, what has changed and what is
-- there that nobody declares any more. Local to this data center, never replicated.

CREATE TABLE lanekeeper.piece (
  id text PRIMARY KEY,
  kind text NOT NULL,
  relation text,
  hash text NOT NULL,
  removal text NOT NULL,
  fingerprint text,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.piece IS 'Functions, triggers and publications that apply generated from the configuration.';
COMMENT ON COLUMN lanekeeper.piece.hash IS 'Of the SQL that created it: another hash in the configuration means it is replaced.';
COMMENT ON COLUMN lanekeeper.piece.removal IS 'The SQL that takes it away, also when nothing declares it any more.';
COMMENT ON COLUMN lanekeeper.piece.fingerprint IS 'Of what PostgreSQL held after it was created: another one now means that somebody changed it by hand.';

CREATE TABLE lanekeeper.fill (
  id text PRIMARY KEY,
  last_key text[],
  rows bigint NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  done_at timestamptz
);
COMMENT ON TABLE lanekeeper.fill IS 'How far rows that existed before Lanekeeper have been given deeds and claims; a fill that was interrupted goes on after last_key.';

CREATE TABLE lanekeeper.stream (
  subscription text PRIMARY KEY,
  connection text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.stream IS 'Subscriptions of this data center. PostgreSQL shows a connection string only to superusers; its salted hash here says whether the configured one is still the same.';

CREATE TABLE lanekeeper.installation (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  cluster text NOT NULL,
  dc text NOT NULL,
  stride integer NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.installation IS 'Whose database this is. A configuration of another cluster or data center, or with another stride, is not applied to it.';
