-- Lanekeeper's tables and functions in the application's database.
--
-- The public face is functions; the tables are private (the application role has no right on any of them). What differs
-- from one data center to the next (its name, the tables it fences) is not here but generated: src/postgres/fence/.
-- The rules R1 to R6 are in ARCHITECTURE.md. Every name is qualified, since apply workers have an empty search_path.

CREATE SCHEMA lanekeeper;
COMMENT ON SCHEMA lanekeeper IS 'Lanekeeper: who may write what in this data center. Do not change by hand.';

-- ── Deeds ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.deed (
  account text PRIMARY KEY CHECK (account <> ''),
  home text NOT NULL,
  term bigint NOT NULL CHECK (term BETWEEN 1 AND 1000000000000),
  counter bigint NOT NULL CHECK (counter BETWEEN 0 AND 1000000000000),
  giver text,
  digest text,
  given_at timestamptz
);
COMMENT ON TABLE lanekeeper.deed IS 'One row per account: the data center that may write its rows (R1). Replicated in the stream of the rows themselves (R2).';
COMMENT ON COLUMN lanekeeper.deed.giver IS 'The data center that gave the account away; null when it was born at its home.';
COMMENT ON COLUMN lanekeeper.deed.digest IS 'Digest of the account''s rows at the moment it was given; null when there is nothing to compare.';

CREATE TABLE lanekeeper.acceptance (
  account text NOT NULL,
  term bigint NOT NULL,
  counter bigint NOT NULL,
  dc text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account, term, counter)
);
COMMENT ON TABLE lanekeeper.acceptance IS 'A new home writes this before any data; without it a given account is written nowhere.';

CREATE TABLE lanekeeper.succession (
  term bigint PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('take', 'switch', 'return')),
  from_dc text NOT NULL,
  to_dc text NOT NULL,
  undoes bigint,
  cuts jsonb NOT NULL DEFAULT '{}',
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.succession IS 'One row moves the home of everything a data center holds. Every fence reads this table, so that a lock on it waits for all writers.';

-- ── What only this data center knows: never replicated ───────────────────────────────────────────────────────────────

-- The number of the view of the cluster. A sequence is never read through a snapshot, so a transaction with an old
-- snapshot sees that it moved on.
CREATE SEQUENCE lanekeeper.view AS bigint;
SELECT pg_catalog.setval('lanekeeper.view', 1);

-- Until when this data center may write: milliseconds since 1970 by this server's clock. UNLOGGED, so that a crash takes
-- it back to its start, which means: no lease.
CREATE UNLOGGED SEQUENCE lanekeeper.lease AS bigint;
-- The same by the machine's uptime, which no clock step can move; only where the owner may read /proc/uptime.
CREATE UNLOGGED SEQUENCE lanekeeper.lease_uptime AS bigint;

CREATE UNLOGGED TABLE lanekeeper.tick (xid xid8 NOT NULL) WITH (
  autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1
);
COMMENT ON TABLE lanekeeper.tick IS 'One row per transaction that passed the fence, to carry the check at commit. The agent empties it.';

CREATE UNLOGGED TABLE lanekeeper.parting (
  xid xid8 NOT NULL,
  relation text NOT NULL,
  key text NOT NULL,
  account text,
  PRIMARY KEY (xid, relation, key)
);
COMMENT ON TABLE lanekeeper.parting IS 'The account of a parent row deleted in this transaction, for the children that a cascade deletes after it. The agent empties it.';

CREATE SEQUENCE lanekeeper.move AS bigint;
CREATE UNLOGGED TABLE lanekeeper.drain (
  account text PRIMARY KEY,
  move bigint NOT NULL UNIQUE DEFAULT pg_catalog.nextval('lanekeeper.move'),
  to_dc text NOT NULL,
  hard boolean NOT NULL DEFAULT false,
  until timestamptz NOT NULL
);
COMMENT ON TABLE lanekeeper.drain IS 'Accounts about to move. Soft: applications hold new requests. Hard: the fence refuses transactions that have not begun to write.';

CREATE UNLOGGED TABLE lanekeeper.instance (
  instance text PRIMARY KEY,
  pid integer NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.instance IS 'Application instances that answer drains; alive while their session holds its advisory lock.';

CREATE UNLOGGED TABLE lanekeeper.activity (account text PRIMARY KEY, at timestamptz NOT NULL);
COMMENT ON TABLE lanekeeper.activity IS 'When an account was last used here: sign-ins and writes, to the minute.';

CREATE UNLOGGED TABLE lanekeeper.observation (
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  sqlstate text NOT NULL,
  relation text,
  account text,
  message text NOT NULL
);
COMMENT ON TABLE lanekeeper.observation IS 'With `enforce: observe`: what the fence would have refused.';

CREATE TABLE lanekeeper.incident (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE lanekeeper.incident IS 'What should not have happened and was kept from doing harm. Nothing is skipped silently (R5).';

-- ── Claims and outcomes: homed, reached through functions only ───────────────────────────────────────────────────────

CREATE TABLE lanekeeper.claim (
  name text NOT NULL,
  value text NOT NULL,
  account text NOT NULL,
  confirmed boolean NOT NULL DEFAULT false,
  claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, value)
);
COMMENT ON TABLE lanekeeper.claim IS 'A value that must be unique in all data centers, and the account that holds it. Belongs to one of 256 buckets, each with a deed.';

CREATE TABLE lanekeeper.outcome (
  account text NOT NULL,
  request_id text NOT NULL,
  result jsonb,
  dc text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account, request_id)
);
CREATE INDEX outcome_request_id ON lanekeeper.outcome (request_id);
COMMENT ON TABLE lanekeeper.outcome IS 'The result of a request, committed with its work, so that any data center can answer: did it go through?';

-- ── The fence ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Whether any drain is hard (2) or none is (1): a look that costs the fence less than a query. It only guards against
-- starvation, so a moment in which it is wrong does no harm.
CREATE UNLOGGED SEQUENCE lanekeeper.hard_drains AS bigint;

-- Refuses, or with `enforce: observe` writes down that it would have. `home` travels in the error's DATATYPE field and,
-- with everything else, in DETAIL as JSON.
CREATE FUNCTION lanekeeper.refuse(state text, message text, relation text, account text, home text, term bigint, counter bigint, hint text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF lanekeeper.mode() = 'observe' THEN
    INSERT INTO lanekeeper.observation (sqlstate, relation, account, message) VALUES (state, relation, account, message);
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, HINT = coalesce(hint, ''),
    DETAIL = json_strip_nulls(json_build_object('account', account, 'home', home, 'term', term, 'counter', counter,
                                                'dc', lanekeeper.dc(), 'table', relation))::text,
    DATATYPE = coalesce(home, ''), TABLE = coalesce(relation, ''), SCHEMA = 'lanekeeper';
END $$;

-- How long this data center may still write, in milliseconds; null or less than one: not at all (R4).
CREATE FUNCTION lanekeeper.lease_left_ms() RETURNS double precision
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  by_clock double precision := pg_sequence_last_value('lanekeeper.lease'::regclass) - date_part('epoch', clock_timestamp()) * 1000;
  by_uptime bigint := pg_sequence_last_value('lanekeeper.lease_uptime'::regclass);
BEGIN
  IF by_uptime > 1 THEN
    RETURN least(by_clock, by_uptime - split_part(pg_read_file('/proc/uptime'), ' ', 1)::double precision * 1000);
  END IF;
  RETURN by_clock;
END $$;

-- Whether this very transaction already holds a lock on a deed, from the deed's xmax. A marker in a setting could be
-- forged; the row's header can not.
CREATE FUNCTION lanekeeper.locked_here(locker xid) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  mine text := pg_current_xact_id_if_assigned()::text;
BEGIN
  IF mine IS NULL OR locker::text = '0' THEN
    RETURN false;
  END IF;
  mine := (mine::numeric % 4294967296)::text;
  IF locker::text = mine THEN
    RETURN true;
  END IF;
  RETURN EXISTS (SELECT FROM pg_get_multixact_members(locker) m WHERE m.xid::text = mine);
EXCEPTION WHEN others THEN
  RETURN false; -- A plain transaction id is not a multixact: it is somebody else's.
END $$;

-- The check that counts. Called by the generated triggers after a statement, with the accounts of all rows it touched,
-- old and new; NULL stands for a row without an account. Returns only when this data center may write all of them, holding
-- their deeds locked FOR SHARE until the transaction ends: a move takes FOR UPDATE and so waits for writers.
--
-- Every single-row write comes through here, so the way of one account is short: three looks at sequences, one query, one
-- row for the check at commit. Like all inner functions it relies on the search_path that its callers pin.
CREATE FUNCTION lanekeeper.fence(accounts text[], relation text) RETURNS boolean
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
      IF d_home <> lanekeeper.dc() OR d_giver IS NOT NULL OR pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
        PERFORM lanekeeper.judge(accounts[1], d_home, d_term, d_counter, d_giver, d_locker, relation);
      END IF;
      IF coalesce(latest, 1) <> pg_sequence_last_value('lanekeeper.view'::regclass) THEN
        PERFORM lanekeeper.refuse_old_view();
      END IF;
    END IF;
  ELSE
    FOR d IN
      SELECT account, home, term, counter, giver, xmax AS locker, (SELECT max(succession.term) FROM lanekeeper.succession) AS latest
        FROM lanekeeper.deed WHERE account = ANY (accounts) ORDER BY account FOR SHARE OF deed
    LOOP
      found_count := found_count + 1;
      IF d.home <> lanekeeper.dc() OR d.giver IS NOT NULL OR pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 THEN
        PERFORM lanekeeper.judge(d.account, d.home, d.term, d.counter, d.giver, d.locker, relation);
      END IF;
      IF coalesce(d.latest, 1) <> pg_sequence_last_value('lanekeeper.view'::regclass) THEN
        PERFORM lanekeeper.refuse_old_view();
      END IF;
    END LOOP;
  END IF;

  IF found_count < cardinality(accounts) THEN
    PERFORM lanekeeper.refuse_missing(accounts, relation);
  END IF;
  RETURN lanekeeper.tick();
END $$;

-- Once per transaction, puts down the row that carries the check at commit. Where it lies is remembered in a setting, and
-- looked up there: whoever forges the setting finds no row of this transaction, and another one is put down.
CREATE FUNCTION lanekeeper.tick() RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  place text := current_setting('lanekeeper.tick', true);
  ticked tid;
BEGIN
  IF place <> '' THEN
    PERFORM FROM lanekeeper.tick WHERE ctid = place::tid AND xid = pg_current_xact_id();
    IF FOUND THEN
      RETURN true;
    END IF;
  END IF;
  INSERT INTO lanekeeper.tick (xid) VALUES (pg_current_xact_id()) RETURNING ctid INTO ticked;
  PERFORM set_config('lanekeeper.tick', ticked::text, true);
  RETURN true;
END $$;

CREATE FUNCTION lanekeeper.refuse_old_view() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'could not serialize access: the data centers have a new view of who may write';
END $$;

-- Says why one deed does not allow a write here. Apart from the fence so that the fence stays short on the way that counts.
CREATE FUNCTION lanekeeper.judge(account text, home text, term bigint, counter bigint, giver text, locker xid, relation text)
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
    SELECT d.to_dc INTO moving_to FROM lanekeeper.drain d WHERE d.account = judge.account AND d.hard AND d.until > clock_timestamp();
    IF FOUND AND NOT lanekeeper.locked_here(judge.locker) THEN
      PERFORM lanekeeper.refuse('LK009', format('account %s is moving to %s', judge.account, moving_to),
        relation, judge.account, moving_to, judge.term, judge.counter, 'Try again in a moment.');
    END IF;
  END IF;
END $$;

CREATE FUNCTION lanekeeper.refuse_missing(accounts text[], relation text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  missing text;
BEGIN
  IF array_position(accounts, NULL) IS NOT NULL THEN
    PERFORM lanekeeper.refuse('LK005', format('a row of %s names no account', relation), relation, NULL, NULL, NULL, NULL,
      'Set its account column, or declare `nullAccount` for this table.');
  END IF;
  FOR missing IN SELECT a FROM unnest(accounts) a WHERE a IS NOT NULL AND NOT EXISTS (SELECT FROM lanekeeper.deed WHERE deed.account = a) LOOP
    PERFORM lanekeeper.refuse('LK002', format('account %s has no deed in %s: unknown here, possibly stranded elsewhere', missing, lanekeeper.dc()),
      relation, missing, NULL, NULL, NULL, 'A deed is born with the account''s row. If that exists elsewhere, its stream is behind: see `lanekeeper status`.');
  END LOOP;
  IF lanekeeper.mode() <> 'observe' AND EXISTS (SELECT FROM unnest(accounts) a WHERE a IS NOT NULL) AND array_position(accounts, NULL) IS NULL THEN
    -- The deed came between the look and this one; the lock has not been taken, so the statement must be tried again.
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'could not serialize access: the account''s deed has just arrived';
  END IF;
END $$;

-- At commit, after everything that a transaction may have waited for.
CREATE FUNCTION lanekeeper.check_commit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF lanekeeper.mode() = 'enforce' AND coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    PERFORM lanekeeper.refuse('LK003', format('the lease of data center %s ran out before this transaction committed', lanekeeper.dc()),
      NULL, NULL, NULL, NULL, NULL, 'Nothing was written. See `lanekeeper status`.');
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER lanekeeper_commit AFTER INSERT ON lanekeeper.tick
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lanekeeper.check_commit();

CREATE FUNCTION lanekeeper.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.refuse('LK006', format('TRUNCATE of %I.%I is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME),
    format('%s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME), NULL, NULL, NULL, NULL, 'Use DELETE with a condition: it is fenced row by row and replicated.');
  RETURN NULL;
END $$;

-- Argument: the data center that publishes this table.
CREATE FUNCTION lanekeeper.refuse_unless_feeder() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_ARGV[0] <> lanekeeper.dc() THEN
    PERFORM lanekeeper.refuse('LK007', format('%I.%I is published by %s and read only in %s', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0], lanekeeper.dc()),
      format('%s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME), NULL, TG_ARGV[0], NULL, NULL, format('Write it in %s.', TG_ARGV[0]));
  END IF;
  RETURN NULL;
END $$;

-- ── Deeds: birth, the rising epoch, moves ────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION lanekeeper.bear(born_account text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  INSERT INTO lanekeeper.deed (account, home, term, counter)
    VALUES (born_account, lanekeeper.dc(), coalesce(pg_sequence_last_value('lanekeeper.view'::regclass), 1), 0)
    ON CONFLICT (account) DO NOTHING;
END $$;

-- A new version of the deed without a new epoch: a transaction that changes which account a row belongs to leaves no
-- reader with an old snapshot, and nobody waiting for the lock, without noticing.
CREATE FUNCTION lanekeeper.touch_deeds(accounts text[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  one text;
BEGIN
  FOR one IN SELECT DISTINCT a FROM unnest(accounts) a WHERE a IS NOT NULL ORDER BY a LOOP
    UPDATE lanekeeper.deed SET home = home WHERE account = one;
  END LOOP;
END $$;

-- E1: an epoch never falls. Fires on the origin and while replication applies.
CREATE FUNCTION lanekeeper.guard_epoch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  present lanekeeper.deed;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF NEW.account IS DISTINCT FROM OLD.account THEN
      RAISE EXCEPTION USING ERRCODE = 'LK002', MESSAGE = 'a deed cannot change its account';
    ELSIF (NEW.term, NEW.counter) > (OLD.term, OLD.counter) THEN
      IF NEW.giver IS NOT NULL AND NEW.giver <> OLD.home THEN
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
CREATE TRIGGER guard_epoch BEFORE INSERT OR UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.guard_epoch();
ALTER TABLE lanekeeper.deed ENABLE ALWAYS TRIGGER guard_epoch;

-- Tells the agent and the applications of this data center that a deed has arrived from another one.
CREATE FUNCTION lanekeeper.tell_deed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  news text := json_build_object('kind', 'deed', 'account', NEW.account, 'home', NEW.home, 'term', NEW.term, 'counter', NEW.counter,
                                 'giver', NEW.giver, 'returned', NEW.digest IS NULL)::text;
BEGIN
  PERFORM pg_notify('lanekeeper_agent', news);
  PERFORM pg_notify('lanekeeper_app', news);
  RETURN NULL;
END $$;
CREATE TRIGGER tell_deed AFTER UPDATE ON lanekeeper.deed FOR EACH ROW EXECUTE FUNCTION lanekeeper.tell_deed();
ALTER TABLE lanekeeper.deed ENABLE REPLICA TRIGGER tell_deed;

-- The same claim filled in by two data centers is one claim; two accounts for one value is an incident, and never stops the stream.
CREATE FUNCTION lanekeeper.guard_claim() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  present lanekeeper.claim;
BEGIN
  SELECT * INTO present FROM lanekeeper.claim WHERE name = NEW.name AND value = NEW.value;
  IF NOT FOUND THEN
    RETURN NEW;
  ELSIF present.account <> NEW.account THEN
    INSERT INTO lanekeeper.incident (kind, detail) VALUES ('claimed-twice', json_build_object('present', present, 'arrived', NEW));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER guard_claim BEFORE INSERT ON lanekeeper.claim FOR EACH ROW EXECUTE FUNCTION lanekeeper.guard_claim();
ALTER TABLE lanekeeper.claim ENABLE REPLICA TRIGGER guard_claim;

-- For the agent. A soft drain: the applications hold new requests for the account. Returns the move's number, or null when
-- the account is already draining.
CREATE FUNCTION lanekeeper.begin_drain(drained_account text, destination text, until_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number bigint;
BEGIN
  INSERT INTO lanekeeper.drain AS d (account, to_dc, until) VALUES (drained_account, destination, to_timestamp(until_ms / 1000.0))
    ON CONFLICT (account) DO UPDATE SET to_dc = excluded.to_dc, until = excluded.until, hard = false, move = nextval('lanekeeper.move')
      WHERE d.until < clock_timestamp() -- left behind by an agent that died
    RETURNING d.move INTO number;
  IF number IS NOT NULL THEN
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'drain', 'move', number, 'account', drained_account, 'to', destination, 'untilMs', until_ms)::text);
  END IF;
  RETURN number;
END $$;

-- From here the fence refuses transactions that have not begun to write, so that share-lockers cannot starve the move.
CREATE FUNCTION lanekeeper.harden_drain(drain_move bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE lanekeeper.drain SET hard = true WHERE move = drain_move;
  PERFORM setval('lanekeeper.hard_drains', 2);
  RETURN FOUND;
END $$;

CREATE FUNCTION lanekeeper.count_drains() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF pg_sequence_last_value('lanekeeper.hard_drains'::regclass) > 1 AND NOT EXISTS (SELECT FROM lanekeeper.drain WHERE hard) THEN
    PERFORM setval('lanekeeper.hard_drains', 1);
  END IF;
END $$;

CREATE FUNCTION lanekeeper.end_drain(drain_move bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ended text;
BEGIN
  DELETE FROM lanekeeper.drain WHERE move = drain_move RETURNING account INTO ended;
  PERFORM lanekeeper.count_drains();
  IF ended IS NULL THEN
    RETURN false;
  END IF;
  PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'undrain', 'move', drain_move, 'account', ended)::text);
  RETURN true;
END $$;

-- Gives an account away, in the caller's transaction, which must be READ COMMITTED and have a lock_timeout. Kinds:
-- 'given' (with the new epoch and the digest), 'not-here', 'stale', 'no-lease', 'unknown', 'no-such-dc'.
CREATE FUNCTION lanekeeper.give(given_account text, destination text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT term bigint, OUT counter bigint, OUT digest text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d lanekeeper.deed;
  latest bigint;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  END IF;
  term := d.term;
  counter := d.counter;
  SELECT coalesce(max(succession.term), 1) INTO latest FROM lanekeeper.succession;
  IF latest <> pg_sequence_last_value('lanekeeper.view'::regclass) THEN
    PERFORM lanekeeper.refuse_old_view();
  ELSIF NOT destination = ANY (lanekeeper.dcs()) OR destination = lanekeeper.dc() THEN
    kind := 'no-such-dc';
  ELSIF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    kind := 'no-lease';
  ELSIF d.home <> lanekeeper.dc() OR NOT lanekeeper.is_accepted(d) THEN
    kind := 'not-here';
  ELSIF d.term <> expected_term OR d.counter <> expected_counter THEN
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

CREATE FUNCTION lanekeeper.is_accepted(d lanekeeper.deed) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN d.giver IS NULL OR EXISTS (SELECT FROM lanekeeper.acceptance a WHERE a.account = d.account AND a.term = d.term AND a.counter = d.counter);
END $$;

-- Accepts an account that was given to this data center, after comparing digests. Kinds: 'accepted', 'already',
-- 'digest-differs', 'stale' (the deed has moved on), 'no-lease', 'unknown'.
CREATE FUNCTION lanekeeper.accept(given_account text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT digest_here text, OUT digest_given text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d lanekeeper.deed;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
    RETURN;
  ELSIF d.home <> lanekeeper.dc() OR d.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
    RETURN;
  ELSIF lanekeeper.is_accepted(d) THEN
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

-- Gives an account back unchanged to the one who gave it. Kinds: 'declined', 'stale', 'already' (it was accepted), 'unknown', 'no-lease'.
CREATE FUNCTION lanekeeper.decline(given_account text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT term bigint, OUT counter bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d lanekeeper.deed;
BEGIN
  SELECT * INTO d FROM lanekeeper.deed WHERE account = given_account FOR UPDATE;
  IF NOT FOUND THEN
    kind := 'unknown';
  ELSIF d.home <> lanekeeper.dc() OR d.term <> expected_term OR d.counter <> expected_counter THEN
    kind := 'stale';
  ELSIF lanekeeper.is_accepted(d) THEN
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

-- This server's clocks, to count a lease from before the request for it was sent. `uptime_ms` is null where it may not be read.
CREATE FUNCTION lanekeeper.clock(OUT wall_ms bigint, OUT uptime_ms bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  BEGIN
    uptime_ms := (split_part(pg_read_file('/proc/uptime'), ' ', 1)::double precision * 1000)::bigint;
  EXCEPTION WHEN insufficient_privilege OR undefined_file THEN
    uptime_ms := NULL;
  END;
  wall_ms := (date_part('epoch', clock_timestamp()) * 1000)::bigint;
END $$;

-- Grants, extends or (with 1) takes back the right to write. The view is taken from the table of successions first.
CREATE FUNCTION lanekeeper.set_lease(valid_until_ms bigint, valid_until_uptime_ms bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  latest bigint;
BEGIN
  SELECT coalesce(max(term), 1) INTO latest FROM lanekeeper.succession;
  IF latest <> pg_sequence_last_value('lanekeeper.view'::regclass) THEN
    PERFORM setval('lanekeeper.view', latest);
  END IF;
  PERFORM setval('lanekeeper.lease_uptime', greatest(coalesce(valid_until_uptime_ms, 1), 1));
  PERFORM setval('lanekeeper.lease', greatest(valid_until_ms, 1));
END $$;

-- Removes what committed or aborted transactions left behind. Returns how many rows went.
CREATE FUNCTION lanekeeper.sweep() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  oldest xid8 := pg_snapshot_xmin(pg_current_snapshot());
  ticks bigint;
  partings bigint;
BEGIN
  DELETE FROM lanekeeper.tick WHERE xid < oldest;
  GET DIAGNOSTICS ticks = ROW_COUNT;
  DELETE FROM lanekeeper.parting WHERE xid < oldest;
  GET DIAGNOSTICS partings = ROW_COUNT;
  DELETE FROM lanekeeper.instance i WHERE NOT lanekeeper.is_alive(i);
  RETURN ticks + partings;
END $$;

-- ── For applications ─────────────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION lanekeeper.where_is(asked text, OUT home text, OUT term bigint, OUT counter bigint, OUT accepted boolean, OUT draining boolean)
RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT d.home, d.term, d.counter, lanekeeper.is_accepted(d),
    EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account = d.account AND x.until > clock_timestamp())
    FROM lanekeeper.deed d WHERE d.account = asked;
END $$;

-- Notes that an account is in use here; at most one write a minute.
CREATE FUNCTION lanekeeper.touch(used_account text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM lanekeeper.activity a WHERE a.account = used_account AND a.at > clock_timestamp() - interval '1 minute') THEN
    INSERT INTO lanekeeper.activity AS a (account, at) VALUES (used_account, clock_timestamp())
      ON CONFLICT (account) DO UPDATE SET at = excluded.at WHERE a.at < excluded.at;
  END IF;
END $$;

CREATE FUNCTION lanekeeper.last_used(asked text) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT at FROM lanekeeper.activity WHERE account = asked);
END $$;

-- An application instance answers drains for as long as the session that called this lives.
CREATE FUNCTION lanekeeper.enlist(instance_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_lock_shared(1279, hashtext(instance_name));
  INSERT INTO lanekeeper.instance (instance, pid) VALUES (instance_name, pg_backend_pid())
    ON CONFLICT (instance) DO UPDATE SET pid = excluded.pid, at = clock_timestamp();
END $$;

CREATE FUNCTION lanekeeper.is_alive(i lanekeeper.instance) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.pid = i.pid AND l.classid::bigint = 1279 AND l.objid::bigint = hashtext(i.instance)::bigint & 4294967295 AND l.granted);
END $$;

CREATE FUNCTION lanekeeper.instances() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT i.instance FROM lanekeeper.instance i WHERE lanekeeper.is_alive(i) ORDER BY 1;
END $$;

CREATE FUNCTION lanekeeper.drained(drain_move bigint, instance_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('lanekeeper_agent', json_build_object('kind', 'drained', 'move', drain_move, 'instance', instance_name)::text);
END $$;

-- Writes the outcome of a request in the transaction of its work. False: this request was already done.
CREATE FUNCTION lanekeeper.record_outcome(request text, for_account text, request_result jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.fence(ARRAY[for_account], 'lanekeeper.outcome');
  INSERT INTO lanekeeper.outcome (account, request_id, result, dc) VALUES (for_account, request, request_result, lanekeeper.dc())
    ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;

CREATE FUNCTION lanekeeper.outcome_of(request text, OUT account text, OUT result jsonb, OUT dc text)
RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT o.account, o.result, o.dc FROM lanekeeper.outcome o WHERE o.request_id = request;
END $$;

-- ── Claims ───────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The account that stands for a claim's bucket, `claim:0` to `claim:255`. MD5 because it is the same in every version.
CREATE FUNCTION lanekeeper.claim_bucket(claim_name text, claim_value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN 'claim:' || ('x' || left(md5(claim_name || ':' || claim_value), 2))::bit(8)::integer;
END $$;

-- Where a value is claimed, and who holds it as far as is known here.
CREATE FUNCTION lanekeeper.claim_holder(claim_name text, claim_value text, OUT bucket text, OUT home text, OUT account text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  bucket := lanekeeper.claim_bucket(claim_name, normal);
  SELECT d.home INTO home FROM lanekeeper.deed d WHERE d.account = bucket;
  SELECT c.account INTO account FROM lanekeeper.claim c WHERE c.name = claim_name AND c.value = normal;
END $$;

-- For the agent, at the bucket's home. True: held by `for_account` now. Repeating it renews an unconfirmed claim.
CREATE FUNCTION lanekeeper.claim_value(claim_name text, claim_value text, for_account text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(claim_name, normal)], 'lanekeeper.claim');
  INSERT INTO lanekeeper.claim AS c (name, value, account) VALUES (claim_name, normal, for_account)
    ON CONFLICT (name, value) DO UPDATE SET claimed_at = clock_timestamp() WHERE c.account = excluded.account;
  RETURN FOUND;
END $$;

-- For the agent, at the bucket's home. A value that a row still shows is only marked: the sweep looks again later.
CREATE FUNCTION lanekeeper.release_claim(claim_name text, claim_value text, of_account text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(claim_name, normal)], 'lanekeeper.claim');
  IF lanekeeper.claim_in_use(claim_name, normal, of_account) THEN
    UPDATE lanekeeper.claim SET confirmed = false, claimed_at = clock_timestamp()
      WHERE name = claim_name AND value = normal AND account = of_account;
  ELSE
    DELETE FROM lanekeeper.claim WHERE name = claim_name AND value = normal AND account = of_account;
  END IF;
  RETURN FOUND;
END $$;

-- For the agent: confirms claims whose row is there and frees those that nobody used. The caller has seen that every
-- stream is up to date; a registration has five minutes to use its claim, so fifteen are safe. Returns how many were freed.
CREATE FUNCTION lanekeeper.sweep_claims(at_most integer DEFAULT 100) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c lanekeeper.claim;
  freed integer := 0;
BEGIN
  FOR c IN
    SELECT claim.* FROM lanekeeper.claim JOIN lanekeeper.deed ON deed.account = lanekeeper.claim_bucket(claim.name, claim.value)
      WHERE NOT claim.confirmed AND claim.claimed_at < clock_timestamp() - interval '15 minutes' AND deed.home = lanekeeper.dc()
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
CREATE INDEX claim_unconfirmed ON lanekeeper.claim (claimed_at) WHERE NOT confirmed;

-- For the generated trigger of a claimed column.
CREATE FUNCTION lanekeeper.require_claim(claim_name text, claim_value text, for_account text, relation text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  c lanekeeper.claim;
BEGIN
  SELECT * INTO c FROM lanekeeper.claim WHERE name = claim_name AND value = lanekeeper.claim_normal(claim_name, claim_value) FOR KEY SHARE;
  IF FOUND AND c.account = for_account AND (c.confirmed OR c.claimed_at > clock_timestamp() - interval '5 minutes') THEN
    RETURN;
  END IF;
  PERFORM lanekeeper.refuse('LK008', format('this %s is %s', claim_name, CASE WHEN c.account IS NULL OR c.account = for_account THEN 'not claimed' ELSE 'claimed by another account' END),
    relation, for_account, NULL, NULL, NULL, format('Call claim(''%s'', …) before the insert.', claim_name));
END $$;

-- Nothing above is for everybody: the generated grants name the roles.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA lanekeeper FROM PUBLIC;
