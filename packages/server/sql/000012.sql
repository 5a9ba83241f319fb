-- Bookmarks: how far a session's own writes have come.
--
-- A transaction's place is that of its commit in the log of the data center that wrote it. The stream of another one has it
-- when what arrived there goes at least as far (docs/guides/reading-your-writes.md).

-- For applications, after a COMMIT: a place behind it in this server's log, and in which of its lives that is.
CREATE FUNCTION lanekeeper.log_place(OUT place pg_lsn, OUT generation integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  place := pg_current_wal_insert_lsn();
  SELECT g.generation INTO generation FROM lanekeeper.generation g;
END $$;

-- Up to where everything that `of_dc` wrote is here; null when nothing is known of it.
--
-- What the worker has confirmed goes beyond the last transaction that it applied: also what the publisher's log holds besides, of which
-- nothing comes. So a place that no transaction follows is reached, too. It is forgotten when the worker ends; what it applied is not.
CREATE FUNCTION lanekeeper.arrived(of_dc text) RETURNS pg_lsn
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- For applications: whether all that `of_dc` wrote up to `place` is here.
CREATE FUNCTION lanekeeper.has_arrived(of_dc text, place pg_lsn) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN coalesce(lanekeeper.arrived(of_dc) >= place, of_dc = lanekeeper.dc());
END $$;

-- For applications: where lives of data centers ended. What was written there beyond `place` is stranded, or lost.
CREATE FUNCTION lanekeeper.cuts(OUT dc text, OUT generation integer, OUT place pg_lsn) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT c.key, (c.value ->> 'generation')::integer, (c.value ->> 'homed')::pg_lsn
    FROM lanekeeper.succession s, jsonb_each(s.cuts) c WHERE s.kind = 'take' AND c.value ->> 'homed' IS NOT NULL;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.log_place(), lanekeeper.arrived(text), lanekeeper.has_arrived(text, pg_lsn), lanekeeper.cuts() FROM PUBLIC;
