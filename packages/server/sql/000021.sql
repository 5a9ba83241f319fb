-- A promoted standby takes nothing of what others write before it was accepted.

-- It has the subscriptions of the primary before, and would read from their slots from its first moment on. If it is refused, and that
-- primary is put back, nobody sends the rows again.

CREATE FUNCTION lanekeeper.timeline() RETURNS integer LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
$$;

-- The timeline that goes on here: to which the lease store has granted a lease last, or on which the database was prepared. A sequence, since
-- it is looked at for each row that arrives.
CREATE SEQUENCE lanekeeper.accepted_timeline AS integer;
SELECT setval('lanekeeper.accepted_timeline', lanekeeper.timeline());

-- Waits for that in an apply worker, unless rows are compared before this data center counts again.
CREATE FUNCTION lanekeeper.await_acceptance() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  WHILE (SELECT a.last_value FROM lanekeeper.accepted_timeline a) <> lanekeeper.timeline()
      AND NOT EXISTS (SELECT FROM lanekeeper.joining j WHERE j.dc = lanekeeper.dc())
      AND coalesce((SELECT r.stage IN ('readmitted', 'done') FROM lanekeeper.rejoining r ORDER BY r.term DESC LIMIT 1), true) LOOP
    IF clock_timestamp() > patience THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('this database of %s was promoted, and has no lease yet: it takes nothing from other data centers', lanekeeper.dc()),
        HINT = 'It goes on when its agent has been granted one. If it is refused, `lanekeeper status` says why.';
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$;

-- On each table that is published elsewhere, for each row that arrives: so it does as little as it can. A row that is not there fires
-- nothing: see note_put_back. After the row: a trigger before it would make every COPY go row by row.
CREATE FUNCTION lanekeeper.hold_arrival() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF left(pg_walfile_name(pg_current_wal_lsn()), 8) <> lpad(to_hex(pg_sequence_last_value('lanekeeper.accepted_timeline')), 8, '0') THEN
    PERFORM lanekeeper.await_acceptance();
  END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION lanekeeper.timeline(), lanekeeper.await_acceptance(), lanekeeper.hold_arrival() FROM PUBLIC;

DO $$
DECLARE
  arriving text;
BEGIN
  FOREACH arriving IN ARRAY ARRAY['deed', 'acceptance', 'succession', 'adoption', 'claim', 'outcome', 'subscribed', 'homed_as', 'stranded',
      'repair', 'copy', 'change'] LOOP
    EXECUTE format('CREATE TRIGGER lanekeeper_arrival AFTER INSERT OR UPDATE OR DELETE ON lanekeeper.%I
      FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_arrival()', arriving);
    EXECUTE format('ALTER TABLE lanekeeper.%I ENABLE REPLICA TRIGGER lanekeeper_arrival', arriving);
  END LOOP;
END $$;

-- Something of what others wrote may be missing here: `verify` has to answer for it, as for a conflict.
CREATE FUNCTION lanekeeper.note_gap(of_kind text, from_timeline integer, to_timeline integer) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO lanekeeper.incident (kind, detail) VALUES (of_kind, json_build_object('from', from_timeline, 'to', to_timeline));
  INSERT INTO lanekeeper.conflict_count AS c (subscription, seen, unanswered)
    SELECT s.subname, 0, 1 FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND s.subname LIKE 'lanekeeper\_%\_homed'
    ON CONFLICT (subscription) DO UPDATE SET unanswered = c.unanswered + 1, at = clock_timestamp();
END $$;
REVOKE ALL ON FUNCTION lanekeeper.note_gap(text, integer, integer) FROM PUBLIC;

-- As before (000018.sql).
CREATE OR REPLACE FUNCTION lanekeeper.note_promotion(present integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before integer := (SELECT max(p.timeline) FROM lanekeeper.promotion p);
BEGIN
  INSERT INTO lanekeeper.promotion (timeline) SELECT present WHERE present > before ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM lanekeeper.note_gap('promoted', before, present);
  RETURN true;
END $$;

-- A primary that is put back in the place of a promoted one that was refused: what others changed in rows which that one lacked, its
-- workers confirmed without coming by here.
CREATE FUNCTION lanekeeper.note_put_back(since integer) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT lanekeeper.note_gap('put-back', since, lanekeeper.timeline())
$$;
REVOKE ALL ON FUNCTION lanekeeper.note_put_back(integer) FROM PUBLIC;
