-- Growing from one data center to three, and back: who takes part, and streams that stand still for a moment.

-- A data center that the configuration names takes part when it has joined: until then nobody reads it, keeps a slot for it, or waits
-- for it. The first `apply` of a database makes all that are configured then take part, since they begin together.
CREATE TABLE lanekeeper.member (
  dc text PRIMARY KEY,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.member IS 'Data centers that take part, this one included, as `join` and `leave` have written it. Never replicated. Empty before the first `apply` of this version: then all take part.';

-- A join lets the streams into its source stand still while it takes a snapshot there. What is listed here is enabled again by whoever
-- finds that the one who did it is gone: the next run, or the agent.
CREATE TABLE lanekeeper.paused (
  subscription text PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.paused IS 'Subscriptions that a join has disabled for a moment, while it holds the lock of those who change streams. Never replicated.';
