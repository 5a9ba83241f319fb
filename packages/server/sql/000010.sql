-- Writes to every data center: direct, and through a log. PostgreSQL's replication carries neither.
--
-- A write is a whole row, or its removal, with a version: (stamp, dc, number). Every data center keeps the version of the
-- last write to each key, in the transaction of the row itself, and takes a write only when its version is greater. So a
-- write that arrives twice has effect once, and writes that arrive in another order end alike everywhere.

CREATE TABLE lanekeeper.spread (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint NOT NULL,
  dc text NOT NULL,
  number bigint NOT NULL,
  removed boolean NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (relation, key)
);
COMMENT ON TABLE lanekeeper.spread IS 'The version of the last write to each row of a table with `writes: direct` or `buffered`, as this data center has it.';
COMMENT ON COLUMN lanekeeper.spread.stamp IS 'Microseconds since 1970 by the clock of the data center that took the write, and always more than it had seen for this key.';
CREATE INDEX spread_removed ON lanekeeper.spread (at) WHERE removed;

CREATE TABLE lanekeeper.buffer_log (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pattern text NOT NULL CHECK (pattern IN ('direct', 'buffered')),
  relation text NOT NULL,
  key text[] NOT NULL,
  image jsonb,
  stamp bigint NOT NULL,
  made_in text,
  made_as bigint,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX buffer_log_key ON lanekeeper.buffer_log (relation, key, stamp);
COMMENT ON TABLE lanekeeper.buffer_log IS 'Writes that not every data center has yet. Without an image: a removal.';
COMMENT ON COLUMN lanekeeper.buffer_log.made_in IS 'Where the write was made, and its number there, when it is not one of this data center''s own: sent again.';

CREATE TABLE lanekeeper.buffer_waiting (
  target text NOT NULL,
  number bigint NOT NULL,
  not_before timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (target, number)
);
CREATE INDEX buffer_waiting_number ON lanekeeper.buffer_waiting (number);
COMMENT ON TABLE lanekeeper.buffer_waiting IS 'Which data centers still lack a write of the log. `not_before`: until then the application that writes it directly is at work on it.';

CREATE TABLE lanekeeper.buffer_aside (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  log text NOT NULL,
  position text NOT NULL,
  target text NOT NULL,
  relation text NOT NULL,
  key text[] NOT NULL,
  image jsonb,
  stamp bigint NOT NULL,
  dc text NOT NULL,
  number bigint NOT NULL,
  written_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'retrying' CHECK (state IN ('retrying', 'poison', 'discarded')),
  sqlstate text NOT NULL,
  message text NOT NULL,
  attempts integer NOT NULL DEFAULT 1,
  first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  decided_by text,
  reason text,
  UNIQUE (log, target, position)
);
COMMENT ON TABLE lanekeeper.buffer_aside IS 'Writes that a data center refused. They are tried again for a while, then wait for a person; nobody waits behind them.';

CREATE TABLE lanekeeper.buffer_progress (
  log text NOT NULL,
  target text NOT NULL,
  drained bigint NOT NULL DEFAULT 0,
  waiting bigint,
  oldest_at timestamptz,
  problem text,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (log, target)
);
COMMENT ON TABLE lanekeeper.buffer_progress IS 'How far the agent of this data center has drained its logs into each data center, as it last saw it.';

-- ── Only this way ────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION lanekeeper.refuse_plain_write(of_relation text, pattern text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.refuse('LK020', format('%s is written in every data center (writes: %s), and plain SQL would write it in %s only', of_relation, pattern, lanekeeper.dc()),
    of_relation, NULL, NULL, NULL, NULL, format('Use everywhere(''%s'').put(…) or remove(…) of the SDK.', of_relation));
END $$;

-- Runs as whoever writes. Only a function of the owner's runs as the owner, so the setting alone forges nothing; for the
-- owner himself, who may disable triggers anyway, it is the way to say that he means it.
CREATE FUNCTION lanekeeper.refuse_unless_spread() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('lanekeeper.spreading', true) = 'on'
     AND current_user = (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'lanekeeper') THEN
    RETURN NULL;
  END IF;
  PERFORM lanekeeper.refuse_plain_write(format('%s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME), TG_ARGV[0]);
  RETURN NULL;
END $$;

-- ── What a write is made of. Generated besides: spread_pattern(relation), spread_image(relation, given, removing),
--    spread_write(relation, key, image), spread_rows(relation) ─────────────────────────────────────────────────────────────────────────────

-- The values of the columns that are not given and have a default: computed once, where the write is taken, so that every
-- data center gets the same.
CREATE FUNCTION lanekeeper.spread_defaults(of_table regclass, given jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  c record;
  value jsonb;
  result jsonb := '{}';
BEGIN
  FOR c IN
    SELECT a.attname, pg_get_expr(d.adbin, d.adrelid) AS expression, format_type(a.atttypid, a.atttypmod) AS type
      FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = of_table AND a.attgenerated = '' AND NOT a.attisdropped AND NOT given ? a.attname
  LOOP
    EXECUTE format('SELECT to_jsonb((%s)::%s)', c.expression, c.type) INTO value;
    result := result || jsonb_build_object(c.attname, value);
  END LOOP;
  RETURN result;
END $$;

-- More than this data center has seen for the key. Holds the key until the transaction ends, so that versions rise in the
-- order in which writes are acknowledged.
CREATE FUNCTION lanekeeper.spread_stamp(of_relation text, of_key text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(of_relation || of_key::text, 7239014));
  RETURN greatest(
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    (SELECT s.stamp + 1 FROM lanekeeper.spread s WHERE s.relation = of_relation AND s.key = of_key),
    (SELECT max(l.stamp) + 1 FROM lanekeeper.buffer_log l WHERE l.relation = of_relation AND l.key = of_key));
END $$;

-- ── Taking a write ───────────────────────────────────────────────────────────────────────────────────────────────────

-- True: the row is as the write says. False: what is here is this write already, or a later one.
CREATE FUNCTION lanekeeper.spread_apply(of_relation text, of_key text[], image jsonb, of_stamp bigint, of_dc text, of_number bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Nothing could ever be written over it.
  IF of_stamp > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 86400000000 THEN
    RAISE EXCEPTION USING ERRCODE = '22008', MESSAGE = format('this write is from tomorrow: compare the clocks of %s and %s', of_dc, lanekeeper.dc());
  END IF;
  INSERT INTO lanekeeper.spread AS s (relation, key, stamp, dc, number, removed)
    VALUES (of_relation, of_key, of_stamp, of_dc, of_number, image IS NULL)
    ON CONFLICT (relation, key) DO UPDATE
      SET stamp = EXCLUDED.stamp, dc = EXCLUDED.dc, number = EXCLUDED.number, removed = EXCLUDED.removed, at = clock_timestamp()
      WHERE s.stamp < EXCLUDED.stamp
        OR s.stamp = EXCLUDED.stamp AND (s.dc COLLATE "C" < EXCLUDED.dc OR s.dc = EXCLUDED.dc AND s.number < EXCLUDED.number);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM set_config('lanekeeper.spreading', 'on', true);
  PERFORM lanekeeper.spread_write(of_relation, of_key, image);
  PERFORM set_config('lanekeeper.spreading', 'off', true);
  RETURN true;
END $$;

-- Many at once, in their order: [{relation, key, image, stamp, dc, number}]. One that is refused leaves the others alone.
-- What is no fault of a write (a deadlock, a server that stops) fails all of them, to be tried again.
CREATE FUNCTION lanekeeper.spread_apply_all(writes jsonb)
RETURNS TABLE (place integer, outcome text, state text, message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  w record;
  outcomes text[];
BEGIN
  -- Also what is checked late is checked here, where it is known whose fault it is.
  SET CONSTRAINTS ALL IMMEDIATE;
  BEGIN
    -- By key, so that two who write the same keys do not wait for each other.
    FOR w IN
      SELECT r.* FROM ROWS FROM (jsonb_to_recordset(writes) AS (relation text, key text[], image jsonb, stamp bigint, dc text, number bigint))
        WITH ORDINALITY AS r (relation, key, image, stamp, dc, number, ordinality) ORDER BY r.relation, r.key, r.ordinality
    LOOP
      outcomes[w.ordinality] := CASE WHEN lanekeeper.spread_apply(w.relation, w.key, nullif(w.image, 'null'), w.stamp, w.dc, w.number) THEN 'written' ELSE 'known' END;
    END LOOP;
    RETURN QUERY SELECT o.ordinality::integer, o.outcome, NULL::text, NULL::text FROM unnest(outcomes) WITH ORDINALITY o (outcome, ordinality);
    RETURN;
  EXCEPTION WHEN others THEN
    IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
      RAISE;
    END IF;
  END;
  place := 0;
  FOR w IN SELECT * FROM jsonb_to_recordset(writes) AS r (relation text, key text[], image jsonb, stamp bigint, dc text, number bigint) LOOP
    place := place + 1;
    state := NULL;
    message := NULL;
    BEGIN
      outcome := CASE WHEN lanekeeper.spread_apply(w.relation, w.key, nullif(w.image, 'null'), w.stamp, w.dc, w.number) THEN 'written' ELSE 'known' END;
    EXCEPTION WHEN others THEN
      IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
        RAISE;
      END IF;
      outcome := 'refused';
      state := SQLSTATE;
      message := SQLERRM;
    END;
    RETURN NEXT;
  END LOOP;
END $$;

-- ── The log in this database ─────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION lanekeeper.require_pattern(of_relation text, wanted text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF lanekeeper.spread_pattern(of_relation) IS DISTINCT FROM wanted THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not declared with writes: %s in %s', of_relation, wanted, lanekeeper.dc());
  END IF;
END $$;

-- A write to a `buffered` table: durable with the transaction that calls this.
CREATE FUNCTION lanekeeper.buffer_append(of_relation text, given jsonb, removing boolean, OUT of_number bigint, OUT of_stamp bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  w record;
BEGIN
  PERFORM lanekeeper.require_pattern(of_relation, 'buffered');
  SELECT * INTO w FROM lanekeeper.spread_image(of_relation, given, removing);
  of_stamp := lanekeeper.spread_stamp(of_relation, w.of_key);
  INSERT INTO lanekeeper.buffer_log (pattern, relation, key, image, stamp) VALUES ('buffered', of_relation, w.of_key, w.image, of_stamp)
    RETURNING number INTO of_number;
  INSERT INTO lanekeeper.buffer_waiting (target, number) SELECT t, of_number FROM unnest(lanekeeper.dcs()) t;
END $$;

-- The same for a log elsewhere: says what is to be written there, and writes nothing.
CREATE FUNCTION lanekeeper.buffer_prepare(of_relation text, given jsonb, removing boolean, OUT of_key text[], OUT image jsonb, OUT of_stamp bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.require_pattern(of_relation, 'buffered');
  SELECT i.of_key, i.image INTO of_key, image FROM lanekeeper.spread_image(of_relation, given, removing) i;
  of_stamp := lanekeeper.spread_stamp(of_relation, of_key);
END $$;

-- Begins a direct write: notes it as lacking everywhere before anybody has it, so that it cannot be half-written unnoticed,
-- and writes it here. `refused_state`: this data center refuses it, which is nothing to the others.
CREATE FUNCTION lanekeeper.direct_begin(of_relation text, given jsonb, removing boolean, grace interval,
  OUT of_number bigint, OUT of_key text[], OUT image jsonb, OUT of_stamp bigint, OUT refused_state text, OUT refused_message text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.require_pattern(of_relation, 'direct');
  SELECT i.of_key, i.image INTO of_key, image FROM lanekeeper.spread_image(of_relation, given, removing) i;
  of_stamp := lanekeeper.spread_stamp(of_relation, of_key);
  INSERT INTO lanekeeper.buffer_log (pattern, relation, key, image, stamp) VALUES ('direct', of_relation, of_key, image, of_stamp)
    RETURNING number INTO of_number;
  SET CONSTRAINTS ALL IMMEDIATE;
  BEGIN
    PERFORM lanekeeper.spread_apply(of_relation, of_key, image, of_stamp, lanekeeper.dc(), of_number);
  EXCEPTION WHEN others THEN
    refused_state := SQLSTATE;
    refused_message := SQLERRM;
  END;
  INSERT INTO lanekeeper.buffer_waiting (target, number, not_before)
    SELECT t, of_number, clock_timestamp() + grace FROM unnest(lanekeeper.dcs()) t WHERE t <> lanekeeper.dc() OR refused_state IS NOT NULL;
END $$;

-- What `target` has now. A write that nobody lacks any more leaves the log.
CREATE FUNCTION lanekeeper.buffer_ack(of_target text, numbers bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Whoever empties the last place of a write must see that it is the last one.
  PERFORM FROM lanekeeper.buffer_log l WHERE l.number = ANY (numbers) ORDER BY l.number FOR UPDATE;
  DELETE FROM lanekeeper.buffer_waiting w WHERE w.target = of_target AND w.number = ANY (numbers);
  DELETE FROM lanekeeper.buffer_log l WHERE l.number = ANY (numbers)
    AND NOT EXISTS (SELECT FROM lanekeeper.buffer_waiting w WHERE w.number = l.number);
END $$;

-- Ends a direct write: who has it, and that the others may be served by the agent from now on. Nobody and nothing to
-- repair (`forget`): every data center has refused it, so it is not written anywhere.
CREATE FUNCTION lanekeeper.direct_end(of_number bigint, targets text[], forget boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM lanekeeper.buffer_log l WHERE l.number = of_number AND l.pattern = 'direct' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF forget THEN
    DELETE FROM lanekeeper.buffer_waiting w WHERE w.number = of_number;
    DELETE FROM lanekeeper.buffer_log l WHERE l.number = of_number;
    RETURN;
  END IF;
  DELETE FROM lanekeeper.buffer_waiting w WHERE w.number = of_number AND w.target = ANY (targets);
  UPDATE lanekeeper.buffer_waiting w SET not_before = '-infinity' WHERE w.number = of_number;
  DELETE FROM lanekeeper.buffer_log l WHERE l.number = of_number
    AND NOT EXISTS (SELECT FROM lanekeeper.buffer_waiting w WHERE w.number = of_number);
END $$;

-- Sends every row of a table again, and every removal that is remembered, with its version: to a data center that was seeded
-- or got the table later. What is there already, or later, stays. Rows that were there before the table was written this way
-- have the least version.
CREATE FUNCTION lanekeeper.buffer_resend(of_relation text, of_target text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  numbers bigint[];
BEGIN
  IF lanekeeper.spread_pattern(of_relation) IS NULL OR of_target <> ALL (lanekeeper.dcs()) OR of_target = lanekeeper.dc() THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is not sent from %s to %s', of_relation, lanekeeper.dc(), of_target);
  END IF;
  WITH sent AS (
    INSERT INTO lanekeeper.buffer_log (pattern, relation, key, image, stamp, made_in, made_as)
      SELECT lanekeeper.spread_pattern(of_relation), of_relation, coalesce(r.of_key, s.key), r.image, coalesce(s.stamp, 0), coalesce(s.dc, ''), coalesce(s.number, 0)
        FROM lanekeeper.spread_rows(of_relation) r FULL JOIN (SELECT * FROM lanekeeper.spread WHERE relation = of_relation) s ON s.key = r.of_key
        WHERE r.of_key IS NOT NULL OR s.removed
      RETURNING number
  ), waiting AS (
    INSERT INTO lanekeeper.buffer_waiting (target, number) SELECT of_target, number FROM sent
  )
  SELECT array_agg(number) INTO numbers FROM sent;
  RETURN coalesce(cardinality(numbers), 0);
END $$;

-- How many writes `target` lacks, and since when; for the drainer, `lanekeeper buffer status` and `verify`.
CREATE FUNCTION lanekeeper.buffer_lag() RETURNS TABLE (pattern text, target text, waiting bigint, oldest_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.pattern, w.target, count(*), min(l.at) FROM lanekeeper.buffer_waiting w JOIN lanekeeper.buffer_log l USING (number) GROUP BY 1, 2
$$;

-- Keys of removed rows are forgotten after a while; by then nobody may come with an older write.
CREATE FUNCTION lanekeeper.forget_spread(older_than interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  forgotten bigint;
BEGIN
  DELETE FROM lanekeeper.spread WHERE removed AND at < clock_timestamp() - older_than;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  DELETE FROM lanekeeper.buffer_aside WHERE state = 'discarded' AND next_at < clock_timestamp() - interval '30 days';
  RETURN forgotten;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.refuse_unless_spread(), lanekeeper.spread_defaults(regclass, jsonb), lanekeeper.spread_stamp(text, text[]),
  lanekeeper.spread_apply(text, text[], jsonb, bigint, text, bigint), lanekeeper.spread_apply_all(jsonb), lanekeeper.require_pattern(text, text),
  lanekeeper.buffer_append(text, jsonb, boolean), lanekeeper.buffer_prepare(text, jsonb, boolean),
  lanekeeper.direct_begin(text, jsonb, boolean, interval), lanekeeper.buffer_ack(text, bigint[]), lanekeeper.direct_end(bigint, text[], boolean),
  lanekeeper.buffer_resend(text, text), lanekeeper.buffer_lag(), lanekeeper.forget_spread(interval) FROM PUBLIC;
