-- How durable a commit is: by the strictest table that the transaction wrote, decided when it commits, whatever the session
-- has set for itself. Also, how many data centers a `remote` commit waits for; the agent says so (docs/internals/durability.md).

-- Bumped whenever the number of those that are waited for changes: an application that sees another value after its COMMIT
-- than the one its commit was decided by does not know that it was waited for.
CREATE SEQUENCE lanekeeper.sync_view AS bigint;
SELECT pg_catalog.setval('lanekeeper.sync_view', 1);

-- Its last value less one is how many other data centers a `remote` commit waits for. UNLOGGED: a crash takes it back to
-- its start, where nobody is waited for and nothing is called `remote`.
CREATE UNLOGGED SEQUENCE lanekeeper.sync_members AS bigint;

-- Where PostgreSQL may not be told whom to wait for, applications wait themselves, after their COMMIT: its last value less one is
-- for how many, and the table has their slots.
CREATE UNLOGGED SEQUENCE lanekeeper.sync_awaited AS bigint;
CREATE UNLOGGED TABLE lanekeeper.sync_peer (slot name PRIMARY KEY);
COMMENT ON TABLE lanekeeper.sync_peer IS 'Slots of the data centers that applications wait for themselves, since this server may not be told to.';

ALTER TABLE lanekeeper.tick ADD COLUMN durability integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN lanekeeper.tick.durability IS '0: local. 1: remote, accepted while alone. 2: remote, refused while alone.';

-- Once per transaction and durability, puts down the row that carries the check at commit; a stricter one gets a row of its own.
DROP FUNCTION lanekeeper.tick();
CREATE FUNCTION lanekeeper.tick(wanted integer DEFAULT 0) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  place text := current_setting('lanekeeper.tick', true);
  ticked tid;
BEGIN
  IF place <> '' THEN
    PERFORM FROM lanekeeper.tick WHERE ctid = place::tid AND xid = pg_current_xact_id() AND durability >= wanted;
    IF FOUND THEN
      RETURN true;
    END IF;
  END IF;
  INSERT INTO lanekeeper.tick (xid, durability) VALUES (pg_current_xact_id(), wanted) RETURNING ctid INTO ticked;
  PERFORM set_config('lanekeeper.tick', ticked::text, true);
  RETURN true;
END $$;

-- At commit, after everything that a transaction may have waited for.
--
-- What `synchronous_commit` is here governs the very commit that is under way. The view is read before the number, and
-- `set_sync_members` writes them the other way round: whoever sees the old number has the old view.
--
-- The NOTICE tells the application that its commit waits, without another question; without one it was local. It is no
-- louder than the WARNING of a wait that was cancelled, so that a session which hears of the one hears of the other.
CREATE OR REPLACE FUNCTION lanekeeper.check_commit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  view bigint;
  members bigint;
  awaited bigint;
  present text;
BEGIN
  IF lanekeeper.mode() = 'enforce' AND coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    PERFORM lanekeeper.refuse('LK003', format('the lease of data center %s ran out before this transaction committed', lanekeeper.dc()),
      NULL, NULL, NULL, NULL, NULL, 'Nothing was written. See `lanekeeper status`.');
  END IF;
  IF NEW.durability > 0 THEN
    view := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
    members := coalesce(pg_sequence_last_value('lanekeeper.sync_members'::regclass), 1) - 1;
    awaited := coalesce(pg_sequence_last_value('lanekeeper.sync_awaited'::regclass), 1) - 1;
    present := current_setting('synchronous_commit');
    IF members > 0 AND current_setting('synchronous_standby_names') NOT LIKE '%lanekeeper_pad%' THEN
      members := 0; -- Somebody emptied the list: no wait would wait.
    END IF;
    IF members > 0 THEN
      IF present NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
      END IF;
      RAISE NOTICE USING ERRCODE = '01LK1', MESSAGE = 'other data centers that this commit waits for: ' || members,
        DETAIL = '{"waitsFor":' || members || ',"view":' || view || ',"refusesAlone":' || (NEW.durability > 1) || '}';
    ELSE
      IF NEW.durability > 1 AND awaited = 0 THEN
        PERFORM lanekeeper.refuse('LK010', format('data center %s is alone: no other one would hold this', lanekeeper.dc()),
          NULL, NULL, NULL, NULL, NULL, 'Nothing was written. It is accepted again when another data center is in step: see `lanekeeper status`.');
      END IF;
      -- Nobody would ever answer a session that waits of its own accord.
      IF present <> 'local' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
      END IF;
      IF awaited > 0 THEN
        RAISE NOTICE USING ERRCODE = '01LK1', MESSAGE = 'other data centers to wait for after this commit: ' || awaited,
          DETAIL = '{"waitsFor":' || awaited || ',"view":' || view || ',"refusesAlone":' || (NEW.durability > 1) || ',"await":true}';
      END IF;
    END IF;
  END IF;
  RETURN NULL;
END $$;

-- For the agent: how many other data centers a `remote` commit waits for from now on, and whom applications wait for instead. Returns
-- the new view.
CREATE FUNCTION lanekeeper.set_sync_members(members integer, awaited text[] DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF members IS NULL OR members < 0 OR array_position(awaited, NULL) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the number of data centers that are waited for cannot be negative, and each has a name';
  END IF;
  DELETE FROM lanekeeper.sync_peer WHERE NOT slot = ANY (awaited);
  INSERT INTO lanekeeper.sync_peer SELECT unnest(awaited) ON CONFLICT DO NOTHING;
  PERFORM setval('lanekeeper.sync_members', members + 1);
  PERFORM setval('lanekeeper.sync_awaited', cardinality(awaited) + 1);
  RETURN nextval('lanekeeper.sync_view');
END $$;

-- For applications, after a COMMIT that told them to wait: until all hold what was committed here before this call, or the view
-- changes, or the time is up. A slot's position is what its reader has said that it flushed.
CREATE FUNCTION lanekeeper.await_peers(within_ms integer, OUT view bigint, OUT reached boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  position pg_lsn := pg_current_wal_flush_lsn();
  until timestamptz := clock_timestamp() + within_ms * interval '1 millisecond';
  first bigint := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
BEGIN
  LOOP
    SELECT count(*) = coalesce(pg_sequence_last_value('lanekeeper.sync_awaited'::regclass), 1) - 1
        AND coalesce(bool_and(coalesce(s.confirmed_flush_lsn >= position, false)), false)
      INTO reached FROM lanekeeper.sync_peer p LEFT JOIN pg_replication_slots s ON s.slot_name = p.slot;
    view := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
    EXIT WHEN reached OR view <> first OR clock_timestamp() > until;
    PERFORM pg_sleep(0.002);
  END LOOP;
END $$;

-- For applications, after a COMMIT, and for the agent. `guarded`: PostgreSQL still has a list of standbys to wait for; when
-- somebody empties it, every wait ends at once and looks like success.
CREATE FUNCTION lanekeeper.sync_state(OUT view bigint, OUT members integer, OUT guarded boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  members := coalesce(pg_sequence_last_value('lanekeeper.sync_members'::regclass), 1) - 1;
  guarded := current_setting('synchronous_standby_names') LIKE '%lanekeeper_pad%';
  view := pg_sequence_last_value('lanekeeper.sync_view'::regclass);
END $$;

-- For applications that pass on a result which another transaction recorded: that one's wait may still go on, or have been broken
-- off, and it shows all the same. The commit of this one comes later in the log, so whoever holds it holds the other; without
-- a lease it is refused.
CREATE FUNCTION lanekeeper.reaffirm() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.tick(1);
  -- Without anything in the log a commit waits for nobody.
  PERFORM pg_logical_emit_message(true, 'lanekeeper', 'reaffirm');
END $$;

-- Claims are `remote`: a value that was promised to one account must not be free again after a failure.
CREATE OR REPLACE FUNCTION lanekeeper.claim_value(claim_name text, claim_value text, for_account text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(claim_name, normal)], 'lanekeeper.claim', 1);
  INSERT INTO lanekeeper.claim AS c (name, value, account) VALUES (claim_name, normal, for_account)
    ON CONFLICT (name, value) DO UPDATE SET claimed_at = clock_timestamp() WHERE c.account = excluded.account;
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION lanekeeper.release_claim(claim_name text, claim_value text, of_account text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  normal text := lanekeeper.claim_normal(claim_name, claim_value);
BEGIN
  PERFORM lanekeeper.fence(ARRAY[lanekeeper.claim_bucket(claim_name, normal)], 'lanekeeper.claim', 1);
  IF lanekeeper.claim_in_use(claim_name, normal, of_account) THEN
    UPDATE lanekeeper.claim SET confirmed = false, claimed_at = clock_timestamp()
      WHERE name = claim_name AND value = normal AND account = of_account;
  ELSE
    DELETE FROM lanekeeper.claim WHERE name = claim_name AND value = normal AND account = of_account;
  END IF;
  RETURN FOUND;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.tick(integer), lanekeeper.set_sync_members(integer, text[]), lanekeeper.await_peers(integer),
  lanekeeper.reaffirm(), lanekeeper.sync_state() FROM PUBLIC;
