-- A move in fewer steps.

-- As the one of 000014.sql. `compared`: the agent has found the digests equal since this deed arrived, while it waited for others; nobody may
-- have written these rows in between, and the rows of this account that were under way had all arrived by then.
CREATE FUNCTION lanekeeper.accept(given_account text, expected_term bigint, expected_counter bigint, compared boolean,
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
  IF d.digest IS NOT NULL AND NOT compared THEN
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

CREATE OR REPLACE FUNCTION lanekeeper.accept(given_account text, expected_term bigint, expected_counter bigint,
  OUT kind text, OUT digest_here text, OUT digest_given text)
LANGUAGE sql VOLATILE AS $$
  SELECT * FROM lanekeeper.accept(given_account, expected_term, expected_counter, false)
$$;

-- Whether the account's rows are the ones that were given with this deed. False also when it is not the deed of now.
CREATE FUNCTION lanekeeper.compare(given_account text, expected_term bigint, expected_counter bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN coalesce((SELECT d.digest = lanekeeper.digest(d.account) FROM lanekeeper.deed d
    WHERE d.account = given_account AND d.home = lanekeeper.dc() AND d.term = expected_term AND d.counter = expected_counter), false);
END $$;

-- Gives the account away in a transaction of one statement, which must be READ COMMITTED. Waits for `patience_ms` at most for each lock.
CREATE FUNCTION lanekeeper.give(given_account text, destination text, expected_term bigint, expected_counter bigint, patience_ms integer,
  OUT kind text, OUT term bigint, OUT counter bigint, OUT digest text)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM set_config('lock_timeout', patience_ms::text, true);
  SELECT g.* INTO kind, term, counter, digest FROM lanekeeper.give(given_account, destination, expected_term, expected_counter) g;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.accept(text, bigint, bigint, boolean), lanekeeper.compare(text, bigint, bigint),
  lanekeeper.give(text, text, bigint, bigint, integer) FROM PUBLIC;
