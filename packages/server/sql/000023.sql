-- As before (000014.sql), and: a return of an earlier generation says nothing of this one. Who had come back once, or was seeded in the
-- middle of a return, and was taken over again by the same data center while it thought that it had a lease, read on behind that takeover.
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

-- As before (000021.sql), and the same: a return that was begun before the data center was seeded is not under way.
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
