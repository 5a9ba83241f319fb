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

-- As before (000004.sql), and: one that has not joined yet copies what is there when it does.
CREATE OR REPLACE FUNCTION lanekeeper.refuse_closed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
