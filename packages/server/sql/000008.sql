-- Shared rows: written in every data center, merged by their stamps. The argument why that converges is in
-- docs/internals/merge.md; what differs from table to table is generated: src/postgres/merge/.
--
-- A stamp is `{era, policy part…, dc}`. The larger one wins, compared from the left; a write makes one that is nowhere
-- smaller than the one it was made on. What has no version has the stamp of the table's floor, or none.

-- ── Tables: all local, but for what passes through `change` ──────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.layout (
  relation text NOT NULL,
  era bigint NOT NULL,
  shape text NOT NULL,
  policy text NOT NULL,
  dcs bigint[] NOT NULL,
  applications text[] NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (relation, era)
);
COMMENT ON TABLE lanekeeper.layout IS 'What the places of a stamp mean, by era. An era is n × 2³² + a hash of the shape: declared in two data centers alike, it is one. Travels with every change.';
COMMENT ON COLUMN lanekeeper.layout.shape IS '`policy|{dcs}|{applications}`, the heaviest first.';

CREATE TABLE lanekeeper.version (
  relation text COLLATE "C" NOT NULL,
  key text[] COLLATE "C" NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  own_era bigint NOT NULL DEFAULT 0,
  own bigint NOT NULL DEFAULT 0,
  deleted boolean NOT NULL DEFAULT false,
  application text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (relation, key)
) WITH (fillfactor = 85);
-- Of columns that do not change from write to write, or every write would have to be put into the indexes anew.
CREATE INDEX version_deleted ON lanekeeper.version (relation) WHERE deleted;
COMMENT ON TABLE lanekeeper.version IS 'The stamp of every shared row that was written since it is merged, deleted ones included until they are purged.';
COMMENT ON COLUMN lanekeeper.version.root IS 'The stamp of an earlier era on which the first write of this one was made.';
COMMENT ON COLUMN lanekeeper.version.own IS 'The highest count of this data center in a stamp that it made here, in the era `own_era`. One whose write lost is not used again: the same twice would pass off either write as known to who made the other.';
COMMENT ON COLUMN lanekeeper.version.at IS 'When the row was written, in the data center where it was.';

CREATE TABLE lanekeeper.change (
  relation text NOT NULL,
  key text[] NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  shape text,
  columns text[],
  vals text[],
  application text,
  at timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1);
COMMENT ON TABLE lanekeeper.change IS 'The merge log. Every row is deleted by the transaction that writes it, so the table is always empty; only the insert is published. Without columns: the row is deleted. A relation of the schema lanekeeper: news from one data center to the others.';

CREATE TABLE lanekeeper.merge_pending (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  LIKE lanekeeper.change,
  reason text NOT NULL,
  sqlstate text,
  tries integer NOT NULL DEFAULT 0,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX merge_pending_row ON lanekeeper.merge_pending (relation, key);
COMMENT ON TABLE lanekeeper.merge_pending IS 'Changes that arrived while their row was locked, or that could not be written. The agent finishes them.';
COMMENT ON COLUMN lanekeeper.merge_pending.sqlstate IS 'Null: the row was locked.';

CREATE TABLE lanekeeper.floor (
  relation text NOT NULL,
  dc text NOT NULL,
  era bigint NOT NULL,
  stamp bigint[] NOT NULL,
  PRIMARY KEY (relation, dc, era)
);
COMMENT ON TABLE lanekeeper.floor IS 'Of the stamps of the deleted rows that a data center has forgotten, the largest of each place, by era. A row without a version begins there: above all of them, and known to have known them.';

CREATE TABLE lanekeeper.merge_mark (
  dc text PRIMARY KEY,
  mark bigint NOT NULL,
  seen jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.merge_mark IS 'How far each data center has merged what the others wrote: their latest marks that it has seen while nothing was pending.';

CREATE TABLE lanekeeper.merge_heard (
  dc text NOT NULL,
  mark bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
  PRIMARY KEY (dc, mark)
);
COMMENT ON TABLE lanekeeper.merge_heard IS 'When each mark came by here, and what was there by then.';

CREATE TABLE lanekeeper.announced (
  peer text PRIMARY KEY,
  at timestamptz NOT NULL
);
COMMENT ON TABLE lanekeeper.announced IS 'Data centers that were sent what was written here before they read the merge log, and since when they read it.';

CREATE TABLE lanekeeper.conflict (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_in text NOT NULL,
  relation text NOT NULL,
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  policy text NOT NULL,
  era bigint NOT NULL,
  winner_dc text NOT NULL,
  winner_application text,
  winner_at timestamptz NOT NULL,
  winner_stamp bigint[] NOT NULL,
  winner_columns text[],
  winner text[],
  loser_dc text NOT NULL,
  loser_application text,
  loser_at timestamptz NOT NULL,
  loser_stamp bigint[] NOT NULL,
  loser_columns text[],
  loser text[]
);
CREATE INDEX conflict_at ON lanekeeper.conflict (at);
CREATE INDEX conflict_row ON lanekeeper.conflict (relation, key);
COMMENT ON TABLE lanekeeper.conflict IS 'Two writes to one shared row, neither of which had seen the other, and which of them stays. Only here: every data center in which the two met has a row of its own, with the same two stamps.';
COMMENT ON COLUMN lanekeeper.conflict.winner IS 'The row as text, its columns named by `winner_columns`; null when it was deleted. Likewise `loser`.';
COMMENT ON COLUMN lanekeeper.conflict.winner_at IS 'When it was written, by the clock of where it was.';

-- ── Stamps ───────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION lanekeeper.read_shape(shape text, OUT policy text, OUT dcs bigint[], OUT applications text[])
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rest text := substr(shape, strpos(shape, '|') + 1);
BEGIN
  policy := split_part(shape, '|', 1);
  dcs := split_part(rest, '|', 1)::bigint[];
  applications := substr(rest, strpos(rest, '|') + 1)::text[];
END $$;

-- Whether everything that `b` says was known to who wrote `a`: nowhere smaller. In an older era it is known when `a`, or
-- what it grew from, was made on it. NULL and era 0 are no version at all.
CREATE FUNCTION lanekeeper.covers(a bigint[], a_root bigint[], b bigint[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF b IS NULL OR b[1] = 0 OR a = b THEN
    RETURN true;
  ELSIF a IS NULL OR a[1] < b[1] THEN
    RETURN false;
  ELSIF a[1] > b[1] THEN
    RETURN a_root IS NOT NULL AND (a_root[1] > b[1] OR lanekeeper.covers(a_root, NULL, b));
  ELSIF cardinality(a) <> cardinality(b) THEN
    RETURN false;
  END IF;
  FOR i IN 2 .. cardinality(a) - 1 LOOP
    IF a[i] < b[i] THEN
      RETURN false;
    END IF;
  END LOOP;
  -- Two writes made on the same version without knowing of each other differ in a place each; equal places are one write.
  RETURN a > b;
END $$;

-- Of each place the larger. Only for floors: a version that wins is taken as it is.
CREATE FUNCTION lanekeeper.each_greatest(a bigint[], b bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT array_agg(greatest(x, y) ORDER BY i) FROM unnest(a, b) WITH ORDINALITY u(x, y, i)
$$;
CREATE AGGREGATE lanekeeper.each_greatest(bigint[]) (sfunc = lanekeeper.each_greatest, stype = bigint[], parallel = safe);

-- The stamp of a write that is made here and now on `base`. Own places count up, beyond what was `used` here; the clock never
-- goes back.
CREATE FUNCTION lanekeeper.next_stamp(l lanekeeper.layout, base bigint[], used bigint, application text) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  place integer := array_position(l.dcs, lanekeeper.dc_number());
  clocks integer := CASE l.policy WHEN 'timestamp-weight' THEN 1 WHEN 'application-weight' THEN cardinality(l.applications) + 1 ELSE 0 END;
  s bigint[];
  at integer;
BEGIN
  IF place IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('data center %s is not among those that %s is merged in', lanekeeper.dc(), l.relation),
      HINT = 'Run `lanekeeper apply` here.';
  END IF;
  IF base IS NOT NULL AND base[1] > l.era THEN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = format('could not serialize access: %s was written in an era that this transaction does not know', l.relation);
  ELSIF base[1] = l.era THEN
    s := base;
  ELSE
    s := array_fill(0::bigint, ARRAY[clocks + cardinality(l.dcs) + 2]);
    s[1] := l.era;
  END IF;
  IF l.policy = 'timestamp-weight' THEN
    s[2] := greatest((date_part('epoch', clock_timestamp()) * 1000000)::bigint, s[2] + 1);
  ELSIF l.policy = 'application-weight' THEN
    at := 1 + coalesce(array_position(l.applications, application), clocks);
    s[at] := s[at] + 1;
  END IF;
  at := 1 + clocks + place;
  s[at] := greatest(s[at], used) + 1;
  s[cardinality(s)] := lanekeeper.dc_number();
  RETURN s;
END $$;

-- Begins an era when the data centers, the weights, the applications or the policy of a table are not what they were.
CREATE FUNCTION lanekeeper.declare_layout(of_relation text, new_shape text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  latest lanekeeper.layout;
  s record;
  next_era bigint;
BEGIN
  LOCK TABLE lanekeeper.layout IN SHARE ROW EXCLUSIVE MODE;
  SELECT * INTO latest FROM lanekeeper.layout WHERE relation = of_relation ORDER BY era DESC LIMIT 1;
  IF latest.shape = new_shape THEN
    RETURN latest.era;
  END IF;
  SELECT * INTO s FROM lanekeeper.read_shape(new_shape);
  -- Counts up in the upper half; the lower is the shape's own, so that two data centers that declare the same mean the same.
  next_era := (coalesce(latest.era, 0) / 4294967296 + 1) * 4294967296 + ('x' || left(md5(new_shape), 8))::bit(32)::bigint;
  INSERT INTO lanekeeper.layout (relation, era, shape, policy, dcs, applications)
    VALUES (of_relation, next_era, new_shape, s.policy, s.dcs, s.applications);
  PERFORM lanekeeper.tell('lanekeeper.layout', ARRAY[of_relation], ARRAY[next_era], new_shape, NULL);
  RETURN next_era;
END $$;

-- ── The log, where a row is written ──────────────────────────────────────────────────────────────────────────────────

-- News for every other data center: into the stream and away again.
CREATE FUNCTION lanekeeper.tell(of_relation text, of_key text[], of_stamp bigint[], of_shape text, of_vals text[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  place tid;
BEGIN
  INSERT INTO lanekeeper.change (relation, key, stamp, shape, vals, at)
    VALUES (of_relation, of_key, of_stamp, of_shape, of_vals, clock_timestamp()) RETURNING ctid INTO place;
  DELETE FROM lanekeeper.change WHERE ctid = place;
END $$;

-- Called by the generated triggers after a row was written; without columns it was deleted. The row itself is locked by
-- then, so that a merge that arrives leaves it alone.
CREATE FUNCTION lanekeeper.log_change(of_relation text, of_key text[], cols text[], row_vals text[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  l lanekeeper.layout;
  base bigint[];
  base_root bigint[];
  known boolean;
  used_era bigint;
  used bigint;
  s bigint[];
  app text := nullif(current_setting('lanekeeper.application', true), '');
  written timestamptz := clock_timestamp();
  place tid;
BEGIN
  LOOP
    SELECT v.stamp, v.root, v.own_era, v.own INTO base, base_root, used_era, used FROM lanekeeper.version v WHERE v.relation = of_relation AND v.key = of_key FOR UPDATE;
    known := FOUND;
    IF NOT known THEN
      SELECT lanekeeper.each_greatest(f.stamp) INTO base FROM lanekeeper.floor f
        WHERE f.relation = of_relation AND f.era = (SELECT max(x.era) FROM lanekeeper.floor x WHERE x.relation = of_relation);
      SELECT lanekeeper.each_greatest(f.stamp) INTO base_root FROM lanekeeper.floor f
        WHERE f.relation = of_relation AND f.era = (SELECT max(x.era) FROM lanekeeper.floor x WHERE x.relation = of_relation AND x.era < base[1]);
    END IF;
    SELECT * INTO l FROM lanekeeper.layout x WHERE x.relation = of_relation ORDER BY x.era DESC LIMIT 1;
    IF l.era IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = format('%s has no layout here', of_relation), HINT = 'Run `lanekeeper apply` here.';
    END IF;
    s := lanekeeper.next_stamp(l, base, CASE WHEN used_era = l.era THEN used ELSE 0 END, app);
    used := s[cardinality(s) - 1 - cardinality(l.dcs) + array_position(l.dcs, lanekeeper.dc_number())];
    IF base[1] < l.era THEN
      base_root := base;
    END IF;
    IF known THEN
      UPDATE lanekeeper.version v SET stamp = s, root = base_root, own_era = l.era, own = used, deleted = cols IS NULL, application = app, at = written
        WHERE v.relation = of_relation AND v.key = of_key;
      EXIT;
    END IF;
    INSERT INTO lanekeeper.version (relation, key, stamp, root, own_era, own, deleted, application, at)
      VALUES (of_relation, of_key, s, base_root, l.era, used, cols IS NULL, app, written) ON CONFLICT DO NOTHING;
    EXIT WHEN FOUND; -- else a merge was faster: look again
  END LOOP;
  INSERT INTO lanekeeper.change (relation, key, stamp, root, shape, columns, vals, application, at)
    VALUES (of_relation, of_key, s, base_root, l.shape, cols, row_vals, app, written) RETURNING ctid INTO place;
  DELETE FROM lanekeeper.change WHERE ctid = place;
END $$;

-- ── The merge, where it arrives ──────────────────────────────────────────────────────────────────────────────────────

-- Merges one change. 'merged', 'stale' (what is here covers it or wins), or 'locked': nothing was done. Never waits long:
-- callers set lock_timeout, and an error of a lock means the same as 'locked'.
--
-- Every change comes through here, so the way of one that is simply newer is short: one look, one comparison, two updates.
CREATE FUNCTION lanekeeper.merge_row(c lanekeeper.change) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  place tid;
  present bigint[];
  present_root bigint[];
  known boolean;
  conflict boolean := false;
  wins boolean := true;
  outcome text;
BEGIN
  SELECT x.ctid, x.stamp, x.root INTO place, present, present_root FROM lanekeeper.version x
    WHERE x.relation = c.relation AND x.key = c.key FOR UPDATE SKIP LOCKED;
  known := FOUND;
  IF NOT known AND EXISTS (SELECT FROM lanekeeper.version x WHERE x.relation = c.relation AND x.key = c.key) THEN
    RETURN 'locked';
  END IF;
  IF c.shape IS NOT NULL AND (NOT known OR present[1] <> c.stamp[1])
     AND NOT EXISTS (SELECT FROM lanekeeper.layout l WHERE l.relation = c.relation AND l.era = c.stamp[1]) THEN
    PERFORM lanekeeper.learn_layout(c.relation, c.stamp[1], c.shape);
  END IF;
  IF known THEN
    -- What covers another is never the smaller of the two.
    IF c.stamp > present THEN
      conflict := NOT lanekeeper.covers(c.stamp, c.root, present);
    ELSIF lanekeeper.covers(present, present_root, c.stamp) THEN
      RETURN 'stale';
    ELSE
      conflict := true;
      wins := left(c.shape, 4) = 'last';
    END IF;
    IF conflict THEN
      PERFORM lanekeeper.log_conflict(c, wins);
      IF NOT wins THEN
        RETURN 'stale';
      END IF;
    END IF;
    UPDATE lanekeeper.version x SET stamp = c.stamp, root = c.root, deleted = c.columns IS NULL, application = c.application, at = c.at
      WHERE x.ctid = place;
  ELSIF c.stamp[1] > 0 THEN
    INSERT INTO lanekeeper.version (relation, key, stamp, root, deleted, application, at)
      VALUES (c.relation, c.key, c.stamp, c.root, c.columns IS NULL, c.application, c.at);
  END IF;
  outcome := lanekeeper.put_row(c.relation, c.key, c.columns, c.vals);
  IF outcome = 'locked' THEN
    RAISE EXCEPTION USING ERRCODE = '55P03', MESSAGE = 'the row is locked';
  ELSIF outcome = 'unknown' THEN
    RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = format('%s is not merged here yet', c.relation), HINT = 'Run `lanekeeper apply` here.';
  END IF;
  RETURN 'merged';
END $$;

CREATE FUNCTION lanekeeper.learn_layout(of_relation text, of_era bigint, of_shape text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  INSERT INTO lanekeeper.layout (relation, era, shape, policy, dcs, applications)
    SELECT of_relation, of_era, of_shape, s.policy, s.dcs, s.applications FROM lanekeeper.read_shape(of_shape) s
    ON CONFLICT DO NOTHING;
END $$;

-- The version that is here is locked by the caller.
CREATE FUNCTION lanekeeper.log_conflict(c lanekeeper.change, wins boolean) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  number bigint;
  v lanekeeper.version;
  present record;
  mine lanekeeper.change;
  winner lanekeeper.change;
  loser lanekeeper.change;
BEGIN
  SELECT * INTO v FROM lanekeeper.version x WHERE x.relation = c.relation AND x.key = c.key;
  IF EXISTS (SELECT FROM lanekeeper.conflict x WHERE x.relation = c.relation AND x.key = c.key
      AND (x.winner_stamp, x.loser_stamp) IN ((c.stamp, v.stamp), (v.stamp, c.stamp))) THEN
    RETURN;
  END IF;
  present := lanekeeper.image_of(c.relation, c.key);
  mine := ROW(v.relation, v.key, v.stamp, v.root, NULL, present.columns, present.vals, v.application, v.at);
  IF wins THEN
    winner := c;
    loser := mine;
  ELSE
    winner := mine;
    loser := c;
  END IF;
  INSERT INTO lanekeeper.conflict (seen_in, relation, key_columns, key, policy, era,
      winner_dc, winner_application, winner_at, winner_stamp, winner_columns, winner,
      loser_dc, loser_application, loser_at, loser_stamp, loser_columns, loser)
    VALUES (lanekeeper.dc(), c.relation, lanekeeper.merged_key(c.relation), c.key, split_part(c.shape, '|', 1), winner.stamp[1],
      lanekeeper.dc_of(winner.stamp[cardinality(winner.stamp)]), winner.application, winner.at, winner.stamp, winner.columns, winner.vals,
      lanekeeper.dc_of(loser.stamp[cardinality(loser.stamp)]), loser.application, loser.at, loser.stamp, loser.columns, loser.vals)
    RETURNING id INTO number;
  PERFORM pg_notify(channel, json_build_object('kind', 'conflict', 'id', number, 'relation', c.relation,
      'key', CASE WHEN octet_length(c.key::text) < 1000 THEN to_json(c.key) END)::text)
    FROM unnest(ARRAY['lanekeeper_agent', 'lanekeeper_app']) channel;
END $$;

-- What cannot be merged now, kept for the agent. Those that it covers are gone with it, and it is not kept when one covers it.
CREATE FUNCTION lanekeeper.keep_pending(c lanekeeper.change, why text, state text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.merge_pending p WHERE p.relation = c.relation AND p.key = c.key AND lanekeeper.covers(p.stamp, p.root, c.stamp)) THEN
    RETURN;
  END IF;
  DELETE FROM lanekeeper.merge_pending WHERE id IN (SELECT p.id FROM lanekeeper.merge_pending p
    WHERE p.relation = c.relation AND p.key = c.key AND lanekeeper.covers(c.stamp, c.root, p.stamp) FOR UPDATE SKIP LOCKED);
  INSERT INTO lanekeeper.merge_pending (relation, key, stamp, root, shape, columns, vals, application, at, reason, sqlstate)
    VALUES (c.relation, c.key, c.stamp, c.root, c.shape, c.columns, c.vals, c.application, c.at, why, state);
END $$;

-- What values are read by, until the transaction ends: a worker applies many changes in one, and to pin all of it for each
-- would cost as much as the merge.
CREATE FUNCTION lanekeeper.pin_settings() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM set_config(s[1], s[2], true) FROM (VALUES (ARRAY['DateStyle', 'ISO, YMD']), (ARRAY['IntervalStyle', 'postgres']), (ARRAY['TimeZone', 'UTC']),
    (ARRAY['bytea_output', 'hex']), (ARRAY['extra_float_digits', '1']), (ARRAY['xmloption', 'content']), (ARRAY['lc_monetary', 'C']),
    (ARRAY['lanekeeper.pinned', 'yes'])) pins(s);
END $$;

-- One change out of a stream. Whatever goes wrong with it is kept and not raised, since a worker would try for ever; but
-- the worker may try again what is no fault of the change: no space, no memory, something broken.
CREATE FUNCTION lanekeeper.apply_change() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' AS $$
DECLARE
  why text := NULL;
  state text;
BEGIN
  IF current_setting('lanekeeper.pinned', true) IS DISTINCT FROM 'yes' THEN
    PERFORM lanekeeper.pin_settings();
  END IF;
  BEGIN
    IF left(NEW.relation, 11) = 'lanekeeper.' THEN
      PERFORM lanekeeper.hear(NEW);
    ELSIF lanekeeper.merge_row(NEW) = 'locked' THEN
      why := 'the row is locked';
    END IF;
  EXCEPTION WHEN others THEN
    IF left(SQLSTATE, 2) IN ('53', '58', 'XX') THEN
      RAISE;
    END IF;
    why := SQLERRM;
    state := CASE WHEN SQLSTATE NOT IN ('55P03', '40P01', '40001') THEN SQLSTATE END;
  END;
  IF why IS NOT NULL THEN
    PERFORM lanekeeper.keep_pending(NEW, why, state);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER apply_change BEFORE INSERT ON lanekeeper.change FOR EACH ROW EXECUTE FUNCTION lanekeeper.apply_change();
ALTER TABLE lanekeeper.change ENABLE REPLICA TRIGGER apply_change;

-- News of another data center: an era, a mark, a floor.
CREATE FUNCTION lanekeeper.hear(c lanekeeper.change) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF c.relation = 'lanekeeper.layout' THEN
    PERFORM lanekeeper.learn_layout(c.key[1], c.stamp[1], c.shape);
  ELSIF c.relation = 'lanekeeper.mark' THEN
    INSERT INTO lanekeeper.merge_mark (dc, mark, seen) VALUES (c.key[1], c.stamp[1], c.vals[1]::jsonb)
      ON CONFLICT (dc) DO UPDATE SET mark = excluded.mark, seen = excluded.seen, at = clock_timestamp() WHERE merge_mark.mark < excluded.mark;
    INSERT INTO lanekeeper.merge_heard (dc, mark) VALUES (c.key[1], c.stamp[1]) ON CONFLICT DO NOTHING;
  ELSIF c.relation = 'lanekeeper.floor' THEN
    INSERT INTO lanekeeper.floor (relation, dc, era, stamp) VALUES (c.key[1], c.key[2], c.stamp[1], c.stamp)
      ON CONFLICT (relation, dc, era) DO UPDATE SET stamp = lanekeeper.each_greatest(floor.stamp, excluded.stamp);
  END IF;
END $$;

-- ── What the agent does ──────────────────────────────────────────────────────────────────────────────────────────────

-- Finishes what was kept, what was tried least first, so that rows that stay locked are in nobody's way; only as replica, so that it is not taken for a write of this data center.
-- Returns how many are done. Waits for a locked row as its writers do, the row first and then its version, but not long.
CREATE FUNCTION lanekeeper.finish_pending(at_most integer DEFAULT 100) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '25ms'
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET bytea_output = 'hex' SET extra_float_digits = 1
SET xmloption = 'content' SET lc_monetary = 'C' AS $$
DECLARE
  p lanekeeper.merge_pending;
  c lanekeeper.change;
  done integer := 0;
  why text;
  state text;
BEGIN
  IF current_setting('session_replication_role') <> 'replica' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'pending changes are merged as replica only';
  END IF;
  -- What failed for a reason of its own is looked at less and less often.
  FOR p IN SELECT * FROM lanekeeper.merge_pending x
      WHERE x.sqlstate IS NULL OR x.since + make_interval(secs => least(power(2, x.tries), 300)) < clock_timestamp() OR x.tries = 0
      ORDER BY x.tries, x.id LIMIT at_most FOR UPDATE SKIP LOCKED LOOP
    why := NULL;
    state := NULL;
    BEGIN
      IF left(p.relation, 11) = 'lanekeeper.' THEN
        c := ROW(p.relation, p.key, p.stamp, p.root, p.shape, p.columns, p.vals, p.application, p.at);
        PERFORM lanekeeper.hear(c);
      ELSE
        PERFORM lanekeeper.hold_row(p.relation, p.key);
        c := ROW(p.relation, p.key, p.stamp, p.root, p.shape, p.columns, p.vals, p.application, p.at);
        IF lanekeeper.merge_row(c) = 'locked' THEN
          why := 'the row is locked';
        END IF;
      END IF;
    EXCEPTION WHEN others THEN
      IF left(SQLSTATE, 2) IN ('53', '58', 'XX') THEN
        RAISE;
      END IF;
      why := SQLERRM;
      state := CASE WHEN SQLSTATE NOT IN ('55P03', '40P01', '40001') THEN SQLSTATE END;
    END;
    IF why IS NULL THEN
      DELETE FROM lanekeeper.merge_pending WHERE id = p.id;
      done := done + 1;
    ELSE
      UPDATE lanekeeper.merge_pending SET tries = tries + 1, reason = why, sqlstate = state WHERE id = p.id;
    END IF;
  END LOOP;
  RETURN done;
END $$;

-- Rows as the changes that made them what they are, with their stamps, deleted ones included. Without `since`, all of the
-- table, also what was never written since it is merged; with a key, one row.
CREATE FUNCTION lanekeeper.changes_of(of_relation text, since timestamptz DEFAULT NULL, of_key text[] DEFAULT NULL) RETURNS SETOF lanekeeper.change
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET bytea_output = 'hex' SET extra_float_digits = 1
SET xmloption = 'content' SET lc_monetary = 'C' AS $$
BEGIN
  -- All of it STABLE: it sees what the caller's query sees, so that a row and its stamp are of one moment.
  RETURN QUERY
    SELECT v.relation, v.key, v.stamp, v.root, l.shape, i.columns, i.vals, v.application, v.at
      FROM lanekeeper.version v LEFT JOIN lanekeeper.layout l ON l.relation = v.relation AND l.era = v.stamp[1]
      CROSS JOIN LATERAL lanekeeper.image_of(v.relation, v.key) i
      WHERE v.relation = of_relation AND (since IS NULL OR v.at >= since) AND (of_key IS NULL OR v.key = of_key) AND v.deleted = (i.columns IS NULL);
  IF since IS NULL AND of_key IS NULL THEN
    RETURN QUERY SELECT of_relation, u.key, '{0}'::bigint[], NULL::bigint[], NULL::text, u.columns, u.vals, NULL::text, clock_timestamp()
      FROM lanekeeper.unversioned(of_relation) u;
  END IF;
END $$;

-- Sends them again; whoever has the same or more drops them. Returns how many.
CREATE FUNCTION lanekeeper.announce(of_relation text, since timestamptz DEFAULT NULL, of_key text[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c lanekeeper.change;
  sent bigint := 0;
  place tid;
BEGIN
  FOR c IN SELECT * FROM lanekeeper.changes_of(of_relation, since, of_key) LOOP
    INSERT INTO lanekeeper.change SELECT c.* RETURNING ctid INTO place;
    DELETE FROM lanekeeper.change WHERE ctid = place;
    sent := sent + 1;
  END LOOP;
  RETURN sent;
END $$;

-- Says to the others how far this data center has merged what they wrote, and repeats its floors. While anything is pending
-- it says no more than before.
CREATE FUNCTION lanekeeper.mark_merged() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number bigint;
  known jsonb;
BEGIN
  -- The snapshot of this one statement: every mark that it sees came after changes of which none is pending in it.
  INSERT INTO lanekeeper.merge_mark AS m (dc, mark, seen)
    SELECT lanekeeper.dc(), 1, CASE WHEN EXISTS (SELECT FROM lanekeeper.merge_pending) THEN '{}'
      ELSE coalesce((SELECT jsonb_object_agg(x.dc, x.mark) FROM lanekeeper.merge_mark x WHERE x.dc <> lanekeeper.dc()), '{}') END
    ON CONFLICT (dc) DO UPDATE SET mark = m.mark + 1, at = clock_timestamp(),
      seen = CASE WHEN excluded.seen = '{}' THEN m.seen ELSE excluded.seen END
    RETURNING m.mark, m.seen INTO number, known;
  INSERT INTO lanekeeper.merge_heard (dc, mark) VALUES (lanekeeper.dc(), number);
  PERFORM lanekeeper.tell('lanekeeper.floor', ARRAY[f.relation, f.dc], f.stamp, NULL, NULL) FROM lanekeeper.floor f WHERE f.dc = lanekeeper.dc();
  PERFORM lanekeeper.tell('lanekeeper.mark', ARRAY[lanekeeper.dc()], ARRAY[number], NULL, ARRAY[known::text]);
  RETURN number;
END $$;

-- Forgets rows that were deleted longer ago than `keep`, as far as every other data center is known to have merged the
-- deletion and this one everything that was written there before. Returns how many.
CREATE FUNCTION lanekeeper.purge_deleted(keep interval, at_most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  cutoff timestamptz := clock_timestamp() - keep;
  others text[] := ARRAY(SELECT d FROM unnest(lanekeeper.dcs()) d WHERE d <> lanekeeper.dc());
  first_marks jsonb;
  snapshots pg_snapshot[];
  purged integer;
BEGIN
  -- Of each data center, the first mark that came by after the cutoff, and what was here by then.
  SELECT jsonb_object_agg(h.dc, h.mark), array_agg(h.snapshot) INTO first_marks, snapshots FROM (
    SELECT DISTINCT ON (x.dc) x.dc, x.mark, x.snapshot FROM lanekeeper.merge_heard x
      WHERE x.at >= cutoff AND x.dc = ANY (lanekeeper.dcs()) ORDER BY x.dc, x.mark) h;
  DELETE FROM lanekeeper.merge_heard WHERE at < cutoff - interval '1 day';
  IF (SELECT count(*) FROM jsonb_object_keys(coalesce(first_marks, '{}'))) < cardinality(others) + 1 THEN
    RETURN 0;
  END IF;
  IF EXISTS (SELECT FROM unnest(others) o LEFT JOIN lanekeeper.merge_mark m ON m.dc = o, jsonb_each_text(first_marks) f(dc, mark)
      WHERE m.dc IS NULL OR CASE WHEN f.dc = o THEN m.mark ELSE coalesce((m.seen ->> f.dc)::bigint, 0) END < f.mark::bigint) THEN
    RETURN 0;
  END IF;
  WITH gone AS (
    DELETE FROM lanekeeper.version WHERE (relation, key) IN (
      SELECT v.relation, v.key FROM lanekeeper.version v
        WHERE v.deleted AND v.at < cutoff AND (SELECT bool_and(lanekeeper.was_visible(v.xmin, s)) FROM unnest(snapshots) s)
          AND NOT EXISTS (SELECT FROM lanekeeper.merge_pending p WHERE p.relation = v.relation AND p.key = v.key)
        ORDER BY v.at LIMIT at_most FOR UPDATE SKIP LOCKED)
      RETURNING relation, stamp),
  raised AS (
    INSERT INTO lanekeeper.floor AS f (relation, dc, era, stamp)
      SELECT g.relation, lanekeeper.dc(), g.stamp[1], lanekeeper.each_greatest(g.stamp) FROM gone g GROUP BY g.relation, g.stamp[1]
      ON CONFLICT (relation, dc, era) DO UPDATE SET stamp = lanekeeper.each_greatest(f.stamp, excluded.stamp))
  SELECT count(*) INTO purged FROM gone;
  RETURN purged;
END $$;

CREATE FUNCTION lanekeeper.purge_conflicts(keep interval, at_most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  purged integer;
BEGIN
  DELETE FROM lanekeeper.conflict WHERE id IN (SELECT c.id FROM lanekeeper.conflict c WHERE c.at < clock_timestamp() - keep ORDER BY c.at LIMIT at_most);
  GET DIAGNOSTICS purged = ROW_COUNT;
  RETURN purged;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.read_shape(text), lanekeeper.covers(bigint[], bigint[], bigint[]), lanekeeper.each_greatest(bigint[], bigint[]), lanekeeper.next_stamp(lanekeeper.layout, bigint[], bigint, text),
  lanekeeper.declare_layout(text, text), lanekeeper.tell(text, text[], bigint[], text, text[]), lanekeeper.log_change(text, text[], text[], text[]),
  lanekeeper.merge_row(lanekeeper.change), lanekeeper.learn_layout(text, bigint, text),
  lanekeeper.log_conflict(lanekeeper.change, boolean), lanekeeper.pin_settings(), lanekeeper.keep_pending(lanekeeper.change, text, text),
  lanekeeper.apply_change(), lanekeeper.hear(lanekeeper.change), lanekeeper.finish_pending(integer), lanekeeper.changes_of(text, timestamptz, text[]), lanekeeper.announce(text, timestamptz, text[]),
  lanekeeper.mark_merged(), lanekeeper.purge_deleted(interval, integer), lanekeeper.purge_conflicts(interval, integer) FROM PUBLIC;
