-- Tables that join the streams while the data centers are selling: what is written to one before the others read it would
-- be dropped there without a word, so it is closed until they do.

CREATE TABLE lanekeeper.subscribed (
  relation text NOT NULL,
  publisher text NOT NULL,
  subscriber text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (relation, publisher, subscriber)
);
COMMENT ON TABLE lanekeeper.subscribed IS 'Written by a data center when its subscription has a table; arriving here, in the stream, it says that what is written here from now on arrives there.';

-- Argument: the declared table. Refuses until every other data center reads it.
CREATE FUNCTION lanekeeper.refuse_closed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing text;
BEGIN
  SELECT d INTO missing FROM unnest(lanekeeper.dcs()) d WHERE d <> lanekeeper.dc() AND NOT EXISTS (
    SELECT FROM lanekeeper.subscribed s WHERE s.relation = TG_ARGV[0] AND s.publisher = lanekeeper.dc() AND s.subscriber = d) LIMIT 1;
  IF missing IS NOT NULL THEN
    PERFORM lanekeeper.refuse('LK003', format('%I.%I is not open yet: %s does not read it', TG_TABLE_SCHEMA, TG_TABLE_NAME, missing),
      TG_ARGV[0], NULL, NULL, NULL, NULL, format('Run `lanekeeper apply` in %s, then here again.', missing));
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION lanekeeper.refuse_closed() FROM PUBLIC;
