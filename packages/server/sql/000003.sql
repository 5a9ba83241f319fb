-- What the agents of this data center know of each other and remember from one leader to the next. Local, never replicated.

CREATE UNLOGGED TABLE lanekeeper.agent (
  instance text PRIMARY KEY,
  url text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.agent IS 'Agents of this data center; alive while `at` is young. One of them leads.';

CREATE TABLE lanekeeper.leader (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  instance text NOT NULL,
  url text NOT NULL,
  pid integer NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_holder text,
  lease_revision bigint
);
COMMENT ON TABLE lanekeeper.leader IS 'The agent that leads: where it is reached, and what it was last granted, so that its successor goes on without a gap.';

CREATE TABLE lanekeeper.move_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  account text NOT NULL,
  what text NOT NULL CHECK (what IN ('given', 'accepted', 'declined')),
  peer text NOT NULL,
  term bigint NOT NULL,
  counter bigint NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX move_log_account ON lanekeeper.move_log (account, at);
CREATE INDEX move_log_at ON lanekeeper.move_log (at);
COMMENT ON TABLE lanekeeper.move_log IS 'Moves that left or reached this data center: committed with the move, kept for a week, what the budget of moves counts.';

CREATE TABLE lanekeeper.conflict_count (
  subscription text PRIMARY KEY,
  seen bigint NOT NULL,
  unanswered bigint NOT NULL DEFAULT 0,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.conflict_count IS 'Conflicts that replication counted, and how many of them no clean `verify` has answered for. PostgreSQL forgets its counters in a crash.';

-- The deeds that are waited for when an agent starts: those of accounts that have moved.
CREATE INDEX deed_given_at ON lanekeeper.deed (given_at) WHERE giver IS NOT NULL;
