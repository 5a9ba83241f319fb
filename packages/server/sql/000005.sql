-- Successions: one row moves the home of everything that a data center holds (failover, switchover, hand-back).
--
-- Where an account is written follows from its deed and the successions with a higher term (the fold of `resolveHome` in
-- the model). The fold is kept in `lineage`, so that the fence does one look-up, and only for deeds older than a succession.

CREATE TABLE lanekeeper.lineage (
  home text NOT NULL,
  term bigint NOT NULL,
  resolved text NOT NULL,
  applied bigint NOT NULL,
  path bigint[] NOT NULL,
  PRIMARY KEY (home, term)
);
COMMENT ON TABLE lanekeeper.lineage IS 'The fold of all successions: where an account is written whose deed names `home` in `term`. Deeds that no succession touched are not listed. Never replicated.';
COMMENT ON COLUMN lanekeeper.lineage.path IS 'The terms of all successions that applied, in order: a hand-back looks for the one that it undoes.';
COMMENT ON COLUMN lanekeeper.lineage.applied IS 'The term of the last succession that applied: with the deed''s counter, the present epoch.';

CREATE TABLE lanekeeper.adoption (
  account text NOT NULL,
  term bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account, term)
);
COMMENT ON TABLE lanekeeper.adoption IS 'Accounts that have been written since a succession moved them. Replicated; the deed stays as it is, so that handing back is one row.';

CREATE TABLE lanekeeper.takeover (
  term bigint PRIMARY KEY,
  snapshot pg_snapshot NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.takeover IS 'What was visible here when a data center was taken over: what is newer was written since. Never replicated.';

CREATE TABLE lanekeeper.frozen (
  publisher text PRIMARY KEY,
  term bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.frozen IS 'Data centers from which nothing is applied here: taken over, or we were. Nobody enables their subscriptions but a rejoin.';

CREATE TABLE lanekeeper.rejoining (
  term bigint PRIMARY KEY,
  generation integer NOT NULL,
  stage text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}',
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.rejoining IS 'How far this data center has come back from being taken over in `term`; its stages are in src/agent/rejoin.ts. Never replicated.';

-- Rises when this data center was taken over or seeded again: part of its incarnation.
CREATE TABLE lanekeeper.generation (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  generation integer NOT NULL CHECK (generation >= 1)
);
INSERT INTO lanekeeper.generation (generation) VALUES (1);

-- ── The fold ─────────────────────────────────────────────────────────────────────────────────────────────────────────

-- One succession more, the latest: what its `from_dc` holds is the other one's.
CREATE FUNCTION lanekeeper.fold_in(s lanekeeper.succession) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  UPDATE lanekeeper.lineage l SET resolved = s.to_dc, applied = s.term, path = l.path || s.term
    WHERE l.resolved = s.from_dc AND (s.kind <> 'return' OR s.undoes = ANY (l.path));
  IF s.kind <> 'return' THEN
    INSERT INTO lanekeeper.lineage (home, term, resolved, applied, path)
      SELECT s.from_dc, t, s.to_dc, s.term, ARRAY[s.term] FROM generate_series(1, s.term - 1) t
      ON CONFLICT DO NOTHING;
  END IF;
END $$;

CREATE FUNCTION lanekeeper.fold() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  s lanekeeper.succession;
BEGIN
  DELETE FROM lanekeeper.lineage;
  FOR s IN SELECT * FROM lanekeeper.succession ORDER BY term LOOP
    PERFORM lanekeeper.fold_in(s);
  END LOOP;
END $$;

CREATE FUNCTION lanekeeper.resolve(deed_home text, deed_term bigint) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN coalesce((SELECT l.resolved FROM lanekeeper.lineage l WHERE l.home = deed_home AND l.term = deed_term), deed_home);
END $$;

-- A deed as the successions left it: its home, its term, and whether that home may write.
CREATE FUNCTION lanekeeper.present(d lanekeeper.deed, OUT home text, OUT term bigint, OUT accepted boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  SELECT l.resolved, l.applied, true INTO home, term, accepted
    FROM lanekeeper.lineage l WHERE l.home = d.home AND l.term = d.term;
  IF NOT FOUND THEN
    home := d.home;
    term := d.term;
    accepted := lanekeeper.is_accepted(d);
  END IF;
END $$;

-- A row that is there already is the same one: its term comes from the lease store. Here as well, a data center that was
-- taken over holds the stream of its successor at that row: catching up over stranded rows would poison it.
CREATE FUNCTION lanekeeper.guard_succession() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term = NEW.term) THEN
    RETURN NULL;
  END IF;
  IF current_setting('session_replication_role') = 'replica' AND NEW.kind = 'take'
     AND (NEW.cuts -> lanekeeper.dc() ->> 'generation')::integer = (SELECT g.generation FROM lanekeeper.generation g)
     AND NOT EXISTS (SELECT FROM lanekeeper.rejoining r WHERE r.term = NEW.term AND r.stage IN ('undone', 'caught-up', 'streaming', 'verified', 'readmitted', 'done')) THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('data center %s was taken over by %s and has to rejoin before it reads on', lanekeeper.dc(), NEW.to_dc),
      HINT = 'Its agent does that: see `lanekeeper status`.';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER guard_succession BEFORE INSERT ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.guard_succession();
ALTER TABLE lanekeeper.succession ENABLE ALWAYS TRIGGER guard_succession;

-- Whoever gives homes away moves the view before it commits, so that writers with an old snapshot see it; it holds the lock
-- that all of them wait for. Whoever gains them has nothing to stop: its view follows the table (`settle_view`).
CREATE FUNCTION lanekeeper.tell_succession() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  news text := json_build_object('kind', 'succession', 'term', NEW.term, 'how', NEW.kind, 'from', NEW.from_dc, 'to', NEW.to_dc)::text;
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.succession s WHERE s.term > NEW.term) THEN
    PERFORM lanekeeper.fold();
  ELSE
    PERFORM lanekeeper.fold_in(NEW);
  END IF;
  IF NEW.from_dc = lanekeeper.dc() THEN
    PERFORM setval('lanekeeper.view', greatest(NEW.term, pg_sequence_last_value('lanekeeper.view'::regclass)));
  END IF;
  PERFORM pg_notify('lanekeeper_agent', news);
  PERFORM pg_notify('lanekeeper_app', news);
  RETURN NULL;
END $$;
CREATE TRIGGER tell_succession AFTER INSERT ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.tell_succession();
ALTER TABLE lanekeeper.succession ENABLE ALWAYS TRIGGER tell_succession;

-- For the agent: a copy of what the lease store decided. Giving away, the caller holds `succession` in ACCESS EXCLUSIVE mode.
-- False: it was there already.
CREATE FUNCTION lanekeeper.succeed(new_term bigint, new_kind text, new_from text, new_to text, new_undoes bigint, new_cuts jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO lanekeeper.succession (term, kind, from_dc, to_dc, undoes, cuts) VALUES (new_term, new_kind, new_from, new_to, new_undoes, new_cuts);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF new_kind = 'take' AND new_to = lanekeeper.dc() THEN
    INSERT INTO lanekeeper.takeover (term, snapshot) VALUES (new_term, pg_current_snapshot()) ON CONFLICT DO NOTHING;
  END IF;
  DELETE FROM lanekeeper.drain WHERE account = '*';
  PERFORM lanekeeper.count_drains();
  RETURN true;
END $$;

-- Brings the view in line with the table, after every transaction that is about to change it: a `setval` outlives the
-- transaction that made it. Returns the view.
CREATE FUNCTION lanekeeper.settle_view() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  latest bigint;
BEGIN
  LOCK TABLE lanekeeper.succession IN SHARE MODE;
  SELECT coalesce(max(term), 1) INTO latest FROM lanekeeper.succession;
  IF latest <> pg_sequence_last_value('lanekeeper.view'::regclass) THEN
    PERFORM setval('lanekeeper.view', latest);
  END IF;
  RETURN latest;
END $$;

-- ── The fence, by the fold ───────────────────────────────────────────────────────────────────────────────────────────

-- As before (see 000001.sql), and: a deed older than a succession is read through `lineage`; the first write to an account
-- that a succession brought here marks it as adopted. A view older than the table is one that nobody has to be warned of.
DROP FUNCTION lanekeeper.fence(text[], text);
CREATE FUNCTION lanekeeper.fence(accounts text[], relation text, durability integer DEFAULT 0) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  found_count integer := 0;
  -- Scalars: assigning a record costs as much as the query.
  d_home text;
  d_term bigint;
  d_counter bigint;
  d_giver text;
  d_locker xid;
  latest bigint;
  l_home text;
  l_term bigint;
  d record;
BEGIN
  IF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() AND lanekeeper.mode() = 'enforce' THEN
    PERFORM lanekeeper.refuse('LK003', format('data center %s holds no lease and may not write', lanekeeper.dc()), relation,
      accounts[1], NULL, NULL, NULL, 'Its agent has to prove the lease: see `lanekeeper status`.');
  END IF;

  IF cardinality(accounts) = 1 AND accounts[1] IS NOT NULL THEN
    SELECT home, term, counter, giver, xmax, (SELECT max(succession.term) FROM lanekeeper.succession)
      INTO d_home, d_term, d_counter, d_giver, d_locker, latest
      FROM lanekeeper.deed WHERE account = accounts[1] FOR SHARE OF deed;
    IF FOUND THEN
      found_count := 1;
      IF latest < pg_sequence_last_value('lanekeeper.view'::regclass) OR (latest IS NULL AND pg_sequence_last_value('lanekeeper.view'::regclass) > 1) THEN
        PERFORM lanekeeper.refuse_old_view();
      END IF;
      IF latest > d_term THEN
        SELECT resolved, applied INTO l_home, l_term FROM lanekeeper.lineage WHERE lineage.home = d_home AND lineage.term = d_term;
        IF FOUND THEN
          d_home := l_home;
          d_term := l_term;
          d_giver := NULL;
        ELSE
          l_term := NULL;
        END IF;
      END IF;
      IF d_home <> lanekeeper.dc() OR d_giver IS NOT NULL OR pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
        PERFORM lanekeeper.judge(accounts[1], d_home, d_term, d_counter, d_giver, d_locker, relation);
      END IF;
      IF l_term IS NOT NULL AND d_home = lanekeeper.dc() THEN
        PERFORM lanekeeper.adopt(accounts[1], l_term);
      END IF;
    END IF;
  ELSE
    FOR d IN
      SELECT account, home, term, counter, giver, xmax AS locker, (SELECT max(succession.term) FROM lanekeeper.succession) AS latest
        FROM lanekeeper.deed WHERE account = ANY (accounts) ORDER BY account FOR SHARE OF deed
    LOOP
      found_count := found_count + 1;
      IF coalesce(d.latest, 1) < pg_sequence_last_value('lanekeeper.view'::regclass) THEN
        PERFORM lanekeeper.refuse_old_view();
      END IF;
      l_term := NULL;
      IF d.latest > d.term THEN
        SELECT resolved, applied INTO l_home, l_term FROM lanekeeper.lineage WHERE lineage.home = d.home AND lineage.term = d.term;
        IF FOUND THEN
          d.home := l_home;
          d.term := l_term;
          d.giver := NULL;
        END IF;
      END IF;
      IF d.home <> lanekeeper.dc() OR d.giver IS NOT NULL OR pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
        PERFORM lanekeeper.judge(d.account, d.home, d.term, d.counter, d.giver, d.locker, relation);
      END IF;
      IF l_term IS NOT NULL AND d.home = lanekeeper.dc() THEN
        PERFORM lanekeeper.adopt(d.account, l_term);
      END IF;
    END LOOP;
  END IF;

  IF found_count < cardinality(accounts) THEN
    PERFORM lanekeeper.refuse_missing(accounts, relation);
  END IF;
  RETURN lanekeeper.tick(durability);
END $$;
REVOKE ALL ON FUNCTION lanekeeper.fence(text[], text, integer) FROM PUBLIC;

CREATE FUNCTION lanekeeper.adopt(adopted_account text, adopted_term bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM lanekeeper.adoption a WHERE a.account = adopted_account AND a.term = adopted_term) THEN
    INSERT INTO lanekeeper.adoption (account, term) VALUES (adopted_account, adopted_term) ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- A drain of `*` is one of every account.
CREATE OR REPLACE FUNCTION lanekeeper.judge(account text, home text, term bigint, counter bigint, giver text, locker xid, relation text)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
  moving_to text;
BEGIN
  IF judge.home <> lanekeeper.dc() THEN
    PERFORM lanekeeper.refuse('LK001', format('account %s is written in %s, not in %s', judge.account, judge.home, lanekeeper.dc()),
      relation, judge.account, judge.home, judge.term, judge.counter, format('Send the request to %s.', judge.home));
  ELSIF judge.giver IS NOT NULL AND NOT EXISTS (SELECT FROM lanekeeper.acceptance a
        WHERE a.account = judge.account AND a.term = judge.term AND a.counter = judge.counter) THEN
    PERFORM lanekeeper.refuse('LK004', format('account %s is arriving in %s and has not been accepted yet', judge.account, judge.home),
      relation, judge.account, judge.home, judge.term, judge.counter, 'Try again in a moment.');
  ELSIF pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
    SELECT d.to_dc INTO moving_to FROM lanekeeper.drain d
      WHERE d.account IN (judge.account, '*') AND d.hard AND d.until > clock_timestamp() LIMIT 1;
    IF FOUND AND NOT lanekeeper.locked_here(judge.locker) THEN
      PERFORM lanekeeper.refuse('LK009', format('account %s is moving to %s', judge.account, moving_to),
        relation, judge.account, moving_to, judge.term, judge.counter, 'Try again in a moment.');
    END IF;
  END IF;
END $$;

-- ── Moves, by the fold ───────────────────────────────────────────────────────────────────────────────────────────────

CREATE OR REPLACE FUNCTION lanekeeper.give(given_account text, destination text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT term bigint, OUT counter bigint, OUT digest text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d lanekeeper.deed;
  p record;
  latest bigint;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  SELECT * INTO p FROM lanekeeper.present(d);
  term := p.term;
  counter := d.counter;
  SELECT coalesce(max(succession.term), 1) INTO latest FROM lanekeeper.succession;
  IF latest < pg_sequence_last_value('lanekeeper.view'::regclass) THEN
    PERFORM lanekeeper.refuse_old_view();
  ELSIF NOT destination = ANY (lanekeeper.dcs()) OR destination = lanekeeper.dc()
        OR EXISTS (SELECT FROM lanekeeper.frozen f WHERE f.publisher = destination) THEN
    kind := 'no-such-dc';
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
  ELSIF p.home <> lanekeeper.dc() OR NOT p.accepted THEN
    kind := 'not-here';
  ELSIF p.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
  ELSE
    kind := 'given';
    term := latest;
    counter := d.counter + 1;
    digest := lanekeeper.digest(given_account);
    UPDATE lanekeeper.deed SET home = destination, term = give.term, counter = give.counter, giver = lanekeeper.dc(),
      digest = give.digest, given_at = clock_timestamp() WHERE account = given_account;
    DELETE FROM lanekeeper.drain WHERE account = given_account;
    PERFORM lanekeeper.count_drains();
    PERFORM lanekeeper.tick();
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', destination, 'term', term, 'counter', counter)::text);
  END IF;
END $$;

-- A deed that a succession has moved since waits for nobody's acceptance: 'stale'.
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
  DELETE FROM lanekeeper.acceptance a WHERE a.account = given_account;
  INSERT INTO lanekeeper.acceptance (account, term, counter, dc) VALUES (given_account, expected_term, expected_counter, lanekeeper.dc());
  PERFORM lanekeeper.tick();
  PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', d.home, 'term', d.term, 'counter', d.counter)::text);
END $$;

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
    UPDATE lanekeeper.deed SET home = d.giver, counter = decline.counter, giver = lanekeeper.dc(), digest = NULL, given_at = clock_timestamp()
      WHERE account = given_account;
    PERFORM lanekeeper.tick();
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', given_account, 'home', d.giver, 'term', term, 'counter', counter)::text);
  END IF;
END $$;

-- E1, by the fold: only the present home may give an account away.
CREATE OR REPLACE FUNCTION lanekeeper.guard_epoch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  present lanekeeper.deed;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF NEW.account IS DISTINCT FROM OLD.account THEN
      RAISE EXCEPTION USING ERRCODE = 'LK002', MESSAGE = 'a deed cannot change its account';
    ELSIF (NEW.term, NEW.counter) > (OLD.term, OLD.counter) THEN
      IF NEW.giver IS NOT NULL AND NEW.giver <> OLD.home AND NEW.giver <> lanekeeper.resolve(OLD.home, OLD.term) THEN
        -- A peer's row is input: only the home may give an account away.
        INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-not-entitled', json_build_object('present', OLD, 'refused', NEW));
        RETURN NULL;
      END IF;
      RETURN NEW;
    ELSIF NEW IS NOT DISTINCT FROM OLD AND current_setting('session_replication_role') <> 'replica' THEN
      RETURN NEW; -- touch_deeds
    ELSIF NEW IS DISTINCT FROM OLD THEN
      INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-regress', json_build_object('present', OLD, 'refused', NEW));
    END IF;
    RETURN NULL;
  END IF;
  IF current_setting('session_replication_role') <> 'replica' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO present FROM lanekeeper.deed WHERE account = NEW.account;
  IF NOT FOUND THEN
    RETURN NEW;
  ELSIF (NEW.term, NEW.counter) > (present.term, present.counter) THEN
    UPDATE lanekeeper.deed SET home = NEW.home, term = NEW.term, counter = NEW.counter, giver = NEW.giver, digest = NEW.digest, given_at = NEW.given_at
      WHERE account = NEW.account;
  ELSIF (NEW.term, NEW.counter) = (present.term, present.counter) AND NEW.home <> present.home THEN
    INSERT INTO lanekeeper.incident (kind, detail) VALUES ('born-twice', json_build_object('present', present, 'arrived', NEW));
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION lanekeeper.where_is(asked text, OUT home text, OUT term bigint, OUT counter bigint, OUT accepted boolean, OUT draining boolean)
RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT p.home, p.term, d.counter, p.accepted,
    EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account IN (d.account, '*') AND x.until > clock_timestamp())
    FROM lanekeeper.deed d, lanekeeper.present(d) p WHERE d.account = asked;
END $$;

CREATE OR REPLACE FUNCTION lanekeeper.claim_holder(claim_name text, claim_value text, OUT bucket text, OUT home text, OUT account text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  bucket := lanekeeper.claim_bucket(claim_name, normal);
  SELECT lanekeeper.resolve(d.home, d.term) INTO home FROM lanekeeper.deed d WHERE d.account = bucket;
  SELECT c.account INTO account FROM lanekeeper.claim c WHERE c.name = claim_name AND c.value = normal;
END $$;

CREATE OR REPLACE FUNCTION lanekeeper.sweep_claims(at_most integer DEFAULT 100) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c lanekeeper.claim;
  freed integer := 0;
BEGIN
  FOR c IN
    SELECT claim.* FROM lanekeeper.claim JOIN lanekeeper.deed ON deed.account = lanekeeper.claim_bucket(claim.name, claim.value)
      WHERE NOT claim.confirmed AND claim.claimed_at < clock_timestamp() - interval '15 minutes'
        AND lanekeeper.resolve(deed.home, deed.term) = lanekeeper.dc()
      ORDER BY claim.claimed_at LIMIT at_most
  LOOP
    PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(c.name, c.value)], 'lanekeeper.claim');
    IF lanekeeper.claim_in_use(c.name, c.value, c.account) THEN
      UPDATE lanekeeper.claim SET confirmed = true WHERE name = c.name AND value = c.value;
    ELSE
      DELETE FROM lanekeeper.claim WHERE name = c.name AND value = c.value;
      freed := freed + 1;
    END IF;
  END LOOP;
  RETURN freed;
END $$;

-- How long the present lease was when it was written: who has more left than that goes by a clock that was set back. It holds
-- where nothing else does: the uptime may not be read, and the agent is stopped.
CREATE UNLOGGED SEQUENCE lanekeeper.lease_length AS bigint;

CREATE OR REPLACE FUNCTION lanekeeper.lease_left_ms() RETURNS double precision
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  by_clock double precision := pg_sequence_last_value('lanekeeper.lease'::regclass) - date_part('epoch', clock_timestamp()) * 1000;
  by_uptime bigint := pg_sequence_last_value('lanekeeper.lease_uptime'::regclass);
BEGIN
  -- A clock that is being adjusted may go back by a little.
  IF by_clock > pg_sequence_last_value('lanekeeper.lease_length'::regclass) + 1000 THEN
    RETURN 0;
  ELSIF by_uptime > 1 THEN
    RETURN least(by_clock, by_uptime - split_part(pg_read_file('/proc/uptime'), ' ', 1)::double precision * 1000);
  END IF;
  RETURN by_clock;
END $$;

-- At start the view is taken from the table before any lease. While a lease is held nobody looks at the table here: it may
-- be locked by a succession, and the lease must not wait for that.
CREATE OR REPLACE FUNCTION lanekeeper.set_lease(valid_until_ms bigint, valid_until_uptime_ms bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF valid_until_ms > 1 AND coalesce(lanekeeper.lease_left_ms(), 0) <= 0 THEN
    PERFORM lanekeeper.settle_view();
  END IF;
  PERFORM setval('lanekeeper.lease_length', greatest(valid_until_ms - (date_part('epoch', clock_timestamp()) * 1000)::bigint, 1));
  PERFORM setval('lanekeeper.lease_uptime', greatest(coalesce(valid_until_uptime_ms, 1), 1));
  PERFORM setval('lanekeeper.lease', greatest(valid_until_ms, 1));
END $$;

REVOKE ALL ON FUNCTION lanekeeper.fold_in(lanekeeper.succession), lanekeeper.fold(), lanekeeper.resolve(text, bigint), lanekeeper.present(lanekeeper.deed), lanekeeper.guard_succession(),
  lanekeeper.tell_succession(), lanekeeper.succeed(bigint, text, text, text, bigint, jsonb), lanekeeper.settle_view(),
  lanekeeper.adopt(text, bigint) FROM PUBLIC;
