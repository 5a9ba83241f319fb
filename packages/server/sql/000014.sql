-- Three data centers: what one of them has applied of another that is gone, and what may not overtake what.
--
-- Two streams bring the writes to one account when its home has changed: the former home's and the present one's. In a third data
-- center they arrive in any order. So the present home puts a mark into its stream before it writes, and the third one holds that
-- stream at the mark until the other has brought what comes before it (docs/internals/three.md).

-- ── Tails ────────────────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE lanekeeper.frozen
  ADD COLUMN homed pg_lsn,
  ADD COLUMN rest pg_lsn,
  ADD COLUMN lost boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN lanekeeper.frozen.homed IS 'How far that log was applied here when its stream had ended, or was replayed from another data center since; null until it is known.';
COMMENT ON COLUMN lanekeeper.frozen.lost IS 'What is missing here can be had from nobody: this data center has to be seeded again.';

CREATE TABLE lanekeeper.thawed (
  publisher text PRIMARY KEY,
  term bigint NOT NULL,
  homed pg_lsn,
  rest pg_lsn,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.thawed IS 'How far the log of a data center that was taken over was here when its streams went on: a succession that tells of it may arrive later. Never replicated.';
COMMENT ON COLUMN lanekeeper.thawed.term IS 'Nobody ends these streams on account of this succession, or of an earlier one, any more.';

-- Whether this data center has all that `cuts` of a succession say of the dead, its own log apart.
CREATE FUNCTION lanekeeper.has_tails(cuts jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN NOT EXISTS (
    SELECT FROM jsonb_each(cuts) c WHERE c.key <> lanekeeper.dc() AND NOT EXISTS (
      SELECT FROM (SELECT publisher, homed, rest FROM lanekeeper.frozen UNION ALL SELECT publisher, homed, rest FROM lanekeeper.thawed) f
        WHERE f.publisher = c.key AND f.homed >= (c.value ->> 'homed')::pg_lsn AND f.rest >= (c.value ->> 'rest')::pg_lsn));
END $$;
REVOKE ALL ON FUNCTION lanekeeper.has_tails(jsonb) FROM PUBLIC;

-- ── Marks that hold a stream ─────────────────────────────────────────────────────────────────────────────────────────

-- How long an apply worker waits at a mark before it gives up and is started again: it keeps its connection meanwhile.
CREATE FUNCTION lanekeeper.hold_ms() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 10000 $$;

-- Nobody waits for what a data center says that is coming back: what is here of another one may be more than what counts, or become
-- that as long as its streams have not ended. Of one that is in the view it cannot.
CREATE FUNCTION lanekeeper.lacks_the_end(s lanekeeper.succession) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF coalesce(lanekeeper.lease_left_ms(), 0) > 0
     OR coalesce((SELECT r.stage IN ('readmitted', 'done') FROM lanekeeper.rejoining r ORDER BY r.term DESC LIMIT 1), true) THEN
    RETURN false;
  END IF;
  RETURN EXISTS (SELECT FROM jsonb_each(s.cuts) c JOIN lanekeeper.frozen f ON f.publisher = c.key WHERE f.homed > (c.value ->> 'homed')::pg_lsn)
    OR (s.from_dc <> lanekeeper.dc() AND NOT EXISTS (SELECT FROM lanekeeper.frozen f WHERE f.publisher = s.from_dc)
      AND NOT EXISTS (SELECT FROM lanekeeper.thawed t WHERE t.publisher = s.from_dc AND t.term >= s.term));
END $$;
REVOKE ALL ON FUNCTION lanekeeper.lacks_the_end(lanekeeper.succession) FROM PUBLIC;

-- As before (000005.sql), and: a data center that came back from being taken over in a later term has done what an earlier one asks
-- for; and a third data center reads on only when it has all that the successor had of the dead.
CREATE OR REPLACE FUNCTION lanekeeper.guard_succession() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term) THEN
    RETURN NULL;
  END IF;
  IF current_setting('session_replication_role') = 'replica' AND NEW.kind = 'take' THEN
    IF (NEW.cuts -> lanekeeper.dc() ->> 'generation')::integer = (SELECT g.generation FROM lanekeeper.generation g)
       AND NOT EXISTS (SELECT FROM lanekeeper.rejoining r
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
END $$;

-- An acceptance is the mark of a move. That of a succession has the account '', which nobody is: its new home has all that the former
-- one had written. One that is sent again is put in place by the repair itself, and is no mark: the deed that it would wait for may come
-- behind it in the same stream.
CREATE FUNCTION lanekeeper.hold_acceptance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  IF pg_trigger_depth() > 1 OR cardinality(lanekeeper.dcs()) < 3 THEN
    RETURN NEW;
  END IF;
  LOOP
    IF NEW.account = '' THEN
      EXIT WHEN EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term);
    ELSE
      EXIT WHEN EXISTS (SELECT FROM lanekeeper.deed d WHERE d.account = NEW.account AND (d.term, d.counter) >= (NEW.term, NEW.counter));
    END IF;
    IF clock_timestamp() > patience THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = CASE WHEN NEW.account = ''
          THEN format('the succession of term %s, which %s goes by, has not arrived in %s', NEW.term, NEW.dc, lanekeeper.dc())
          ELSE format('the deed of account %s, which %s has accepted, has not arrived in %s', NEW.account, NEW.dc, lanekeeper.dc()) END,
        HINT = 'It comes with the stream of the former home, or is fetched when that is gone: see `lanekeeper status`.';
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
  RETURN NEW;
END $$;
CREATE TRIGGER hold_acceptance BEFORE INSERT ON lanekeeper.acceptance FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_acceptance();
ALTER TABLE lanekeeper.acceptance ENABLE REPLICA TRIGGER hold_acceptance;

-- A deed of a term goes by the succession of that term: a home that does not know it would give the account on with a smaller epoch.
CREATE FUNCTION lanekeeper.hold_deed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
BEGIN
  -- Not what a repair puts in place: what it goes by may come behind it in the same stream.
  IF pg_trigger_depth() > 1 OR cardinality(lanekeeper.dcs()) < 3 THEN
    RETURN NEW;
  END IF;
  WHILE NEW.term > 1 AND NOT EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term) LOOP
    IF clock_timestamp() > patience THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('the succession of term %s, which the deed of account %s goes by, has not arrived in %s', NEW.term, NEW.account, lanekeeper.dc()),
        HINT = 'It comes with another stream: see `lanekeeper status`.';
    END IF;
    PERFORM pg_sleep(0.01);
  END LOOP;
  -- Only the home may give an account away (`guard_epoch`). It may have become that by a deed which comes with another stream, and which
  -- has to lock this row: so not by waiting here.
  IF TG_OP = 'UPDATE' AND (NEW.term, NEW.counter) > (OLD.term, OLD.counter) AND NEW.giver <> OLD.home AND NEW.giver <> lanekeeper.resolve(OLD.home, OLD.term) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('account %s was given away by %s, and as far as is known in %s it is not at home there', NEW.account, NEW.giver, lanekeeper.dc()),
      HINT = 'It is tried again: the deed that made it the home comes with another stream. See `lanekeeper status`.';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER await_succession BEFORE INSERT OR UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_deed();
ALTER TABLE lanekeeper.deed ENABLE REPLICA TRIGGER await_succession;

-- An account that was on its way when its destination was taken over, or gave everything away: the successor may have its deed and its
-- rows before they are here. Its first write has been applied by now to rows that may be missing, so that all of the transaction is
-- done once more when they are there.
CREATE FUNCTION lanekeeper.hold_adoption() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  patience timestamptz := clock_timestamp() + make_interval(secs => lanekeeper.hold_ms() / 1000.0);
  late boolean := false;
BEGIN
  IF pg_trigger_depth() > 1 OR cardinality(lanekeeper.dcs()) < 3 THEN
    RETURN NEW;
  END IF;
  WHILE NOT EXISTS (SELECT FROM lanekeeper.deed d, lanekeeper.present(d) p WHERE d.account = NEW.account AND p.term >= NEW.term) LOOP
    late := true;
    EXIT WHEN clock_timestamp() > patience;
    PERFORM pg_sleep(0.01);
  END LOOP;
  IF late THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('account %s was written in its new home before its deed had arrived in %s', NEW.account, lanekeeper.dc()),
      HINT = 'It is applied again, as soon as what comes before it is there.';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER hold_adoption BEFORE INSERT ON lanekeeper.adoption FOR EACH ROW EXECUTE FUNCTION lanekeeper.hold_adoption();
ALTER TABLE lanekeeper.adoption ENABLE REPLICA TRIGGER hold_adoption;

-- As before (000005.sql), and: with a mark, so that a third data center has the deed that is given back before it hears that it was.
-- Otherwise the one who gives it back would not be entitled to over there.
CREATE OR REPLACE FUNCTION lanekeeper.decline(given_account text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT term bigint, OUT counter bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d lanekeeper.deed;
  p record;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  SELECT * INTO p FROM lanekeeper.present(d);
  IF d.home <> lanekeeper.dc() OR p.term <> d.term OR d.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
  ELSIF p.accepted THEN
    kind := 'already';
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
  ELSE
    kind := 'declined';
    term := d.term;
    counter := d.counter + 1;
    IF cardinality(lanekeeper.dcs()) > 2 THEN
      INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES (given_account, expected_term, expected_counter, lanekeeper.dc())
        ON CONFLICT DO NOTHING;
    END IF;
    UPDATE lanekeeper.deed SET home = d.giver, counter = decline.counter, giver = lanekeeper.dc(), digest = NULL, given_at = clock_timestamp()
      WHERE account = given_account;
    PERFORM lanekeeper.tick();
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', d.giver, 'term', term, 'counter', counter)::text);
  END IF;
END $$;

-- As before (000005.sql), but the mark comes first: what it waits for elsewhere brings the marks that are deleted behind it.
CREATE OR REPLACE FUNCTION lanekeeper.accept(given_account text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT digest_here text, OUT digest_given text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d lanekeeper.deed;
  p record;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  SELECT * INTO p FROM lanekeeper.present(d);
  IF d.home <> lanekeeper.dc() OR p.term <> d.term OR d.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
    RETURN;
  ELSIF p.accepted THEN
    kind := 'already';
    RETURN;
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
    RETURN;
  END IF;
  digest_given := d.digest;
  IF d.digest IS NOT NULL THEN
    digest_here := lanekeeper.digest(given_account);
    IF digest_here IS DISTINCT FROM d.digest THEN
      kind := 'digest-differs';
      INSERT INTO lanekeeper.incident (kind, detail) VALUES ('digest-differs',
        json_build_object('account', given_account, 'giver', d.giver, 'term', d.term, 'counter', d.counter, 'here', digest_here, 'given', d.digest));
      RETURN;
    END IF;
  END IF;
  kind := 'accepted';
  INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES (given_account, expected_term, expected_counter, lanekeeper.dc());
  DELETE FROM lanekeeper.acceptance a WHERE a.account = given_account AND (a.term, a.counter) < (expected_term, expected_counter);
  PERFORM lanekeeper.tick();
  PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', d.home, 'term', d.term, 'counter', d.counter)::text);
END $$;

-- ── Switchover and hand-back ─────────────────────────────────────────────────────────────────────────────────────────

-- Whether what a succession brought here may be written: a takeover is its own mark, the others need one where a third reads both.
CREATE FUNCTION lanekeeper.landed(of_term bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN cardinality(lanekeeper.dcs()) < 3
    OR EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = of_term AND s.kind = 'take')
    OR EXISTS (SELECT FROM lanekeeper.acceptance a WHERE a.account = '' AND a.term = of_term);
END $$;

-- For the agent: puts down the marks of the successions that made this data center a home. Returns how many. Only under the lease:
-- one that was taken over writes nothing that nobody would ever hear of.
CREATE FUNCTION lanekeeper.land() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  landed integer;
BEGIN
  IF cardinality(lanekeeper.dcs()) < 3 OR coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    RETURN 0;
  END IF;
  INSERT INTO lanekeeper.acceptance (account, term, counter, dc)
    SELECT '', s.term, 0, lanekeeper.dc() FROM lanekeeper.succession s
      WHERE s.to_dc = lanekeeper.dc() AND s.kind <> 'take' AND NOT EXISTS (SELECT FROM lanekeeper.acceptance a WHERE a.account = '' AND a.term = s.term)
      ORDER BY s.term
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS landed = ROW_COUNT;
  RETURN landed;
END $$;

CREATE OR REPLACE FUNCTION lanekeeper.present(d lanekeeper.deed, OUT home text, OUT term bigint, OUT accepted boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  SELECT l.resolved, l.applied, lanekeeper.landed(l.applied) INTO home, term, accepted
    FROM lanekeeper.lineage l WHERE l.home = d.home AND l.term = d.term;
  IF NOT FOUND THEN
    home := d.home;
    term := d.term;
    accepted := lanekeeper.is_accepted(d);
  END IF;
END $$;

-- As before (000005.sql), and: not before the mark is in the stream.
CREATE OR REPLACE FUNCTION lanekeeper.adopt(adopted_account text, adopted_term bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM lanekeeper.adoption a WHERE a.account = adopted_account AND a.term = adopted_term) THEN
    IF NOT lanekeeper.landed(adopted_term) THEN
      PERFORM lanekeeper.refuse('LK004', format('account %s is arriving in %s and has not been accepted yet', adopted_account, lanekeeper.dc()),
        NULL, adopted_account, lanekeeper.dc(), adopted_term, NULL, 'Try again in a moment.');
    END IF;
    INSERT INTO lanekeeper.adoption (account, term) VALUES (adopted_account, adopted_term) ON CONFLICT DO NOTHING;
  END IF;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.landed(bigint), lanekeeper.land(), lanekeeper.hold_acceptance(), lanekeeper.hold_deed(), lanekeeper.hold_adoption(),
  lanekeeper.hold_ms() FROM PUBLIC;

-- ── Relay slots ──────────────────────────────────────────────────────────────────────────────────────────────────────
--
-- What this data center keeps of its own log for another one: what it applied of a third, should that one fail
-- (src/postgres/relay/). Written by the agent; none of it is replicated.

CREATE TABLE lanekeeper.relay (
  peer text NOT NULL,
  publisher text NOT NULL,
  stream text NOT NULL CHECK (stream IN ('homed', 'rest')),
  origin text NOT NULL,
  complete_from pg_lsn NOT NULL,
  place pg_lsn NOT NULL,
  merged pg_snapshot NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (peer, publisher, stream)
);
COMMENT ON TABLE lanekeeper.relay IS 'What the relay slot for `peer` is known to hold: every transaction of `publisher` that was applied here under `origin` and ends, in the publisher''s log, beyond `complete_from`. Written before the slot is moved. No row: nothing is known.';
COMMENT ON COLUMN lanekeeper.relay.place IS 'In the log of this data center: the slot begins there or before. One that begins later was made by somebody else.';
COMMENT ON COLUMN lanekeeper.relay.merged IS 'Versions of shared rows that it sees are known to `peer`, as far as they came from `publisher`.';

CREATE TABLE lanekeeper.heard (
  publisher text NOT NULL,
  stream text NOT NULL CHECK (stream IN ('homed', 'rest')),
  origin text NOT NULL,
  place pg_lsn NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (publisher, stream)
);
COMMENT ON TABLE lanekeeper.heard IS 'Up to where everything of another log is here, as its worker said: also where nothing of it had to be written, which leaves no progress. A worker that ends forgets it.';
