-- Standbys of this data center's own: what has become of them.

-- A promoted standby has replayed what was applied here up to some moment, and nothing says whether another data center was told that a
-- little more had been applied: that is then sent to nobody again. So each promotion is noted once, like a conflict that `verify` has to answer for.
CREATE TABLE lanekeeper.promotion (
  timeline integer PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.promotion IS 'Timelines that this database is known to have been on. Never replicated to other data centers; its own standbys have it.';
INSERT INTO lanekeeper.promotion (timeline) SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer;

CREATE FUNCTION lanekeeper.note_promotion(present integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before integer := (SELECT max(p.timeline) FROM lanekeeper.promotion p);
BEGIN
  INSERT INTO lanekeeper.promotion (timeline) SELECT present WHERE present > before ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN false; END IF;
  INSERT INTO lanekeeper.incident (kind, detail) VALUES ('promoted', json_build_object('from', before, 'to', present));
  INSERT INTO lanekeeper.conflict_count AS c (subscription, seen, unanswered)
    SELECT s.subname, 0, 1 FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname LIKE 'lanekeeper\_%\_homed'
    ON CONFLICT (subscription) DO UPDATE SET unanswered = c.unanswered + 1, at = clock_timestamp();
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION lanekeeper.note_promotion(integer) FROM public;
