-- Batches of shared rows: what one transaction writes after its first row leaves as one row of the merge log for many rows
-- of a table, and is merged by a few statements where it arrives. The argument is in docs/internals/merge.md, "Batches".
--
-- A batch is a row of `lanekeeper.change` whose relation is `batch:{relation}` and whose key is a number of its own. Its stamps,
-- roots and values have one more dimension, by row: each stamp is followed by when the row was written, in µs since 1970, and
-- the values come after the key. It is sent to nobody who has not said that he reads it; who does not, keeps it as pending.

-- ── Where rows are written ───────────────────────────────────────────────────────────────────────────────────────────

CREATE UNLOGGED TABLE lanekeeper.written (
  xid xid8 NOT NULL,
  part integer NOT NULL,
  relation text COLLATE "C" NOT NULL,
  key text[] COLLATE "C" NOT NULL,
  stamp bigint[] NOT NULL,
  root bigint[],
  shape text,
  columns text[],
  vals text[],
  application text,
  at timestamptz NOT NULL,
  opens boolean NOT NULL,
  PRIMARY KEY (xid, part, relation, key)
) WITH (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1);
-- Read again within the transaction: packing them would be in vain, and hide how much they are.
ALTER TABLE lanekeeper.written ALTER COLUMN vals SET STORAGE EXTERNAL;
COMMENT ON TABLE lanekeeper.written IS 'What transactions under way have written to shared rows and not sent yet: the last of each row. Empty once they have ended.';
COMMENT ON COLUMN lanekeeper.written.part IS 'A thousand rows of a transaction. Apart from each other, since a transaction meets what it has deleted itself wherever it looks.';
COMMENT ON COLUMN lanekeeper.written.opens IS 'The first of its part: with it comes the trigger that sends the part at the end of the transaction.';

-- Whether every other data center has said that it reads batches. `mark_merged` says it.
CREATE FUNCTION lanekeeper.batches_are_read() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN NOT EXISTS (SELECT FROM unnest(lanekeeper.dcs()) d WHERE d <> lanekeeper.dc()
    AND NOT EXISTS (SELECT FROM lanekeeper.merge_mark m WHERE m.dc = d AND m.seen ? 'lanekeeper.batches'));
END $$;

-- Sends what waits of a part. Rows that differ in more than key, stamp and values go apart, and not too many go
-- together: one that cannot be merged takes a batch apart where it arrives.
CREATE FUNCTION lanekeeper.send_waiting(of_part integer) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
  together boolean := lanekeeper.batches_are_read();
  places tid[];
BEGIN
  WITH gone AS (
    DELETE FROM lanekeeper.written w WHERE w.xid = pg_current_xact_id() AND w.part = of_part RETURNING w.*),
  alike AS (
    SELECT g.*, (row_number() OVER way - 1) / 500 AS turn, sum(coalesce(pg_column_size(g.vals), 0)) OVER way / 1000000 AS size FROM gone g
      WINDOW way AS (PARTITION BY g.relation, g.shape, g.columns, g.application, g.stamp[1], cardinality(g.stamp), cardinality(g.root) ORDER BY g.key)),
  sent AS (
    INSERT INTO lanekeeper.change (relation, key, stamp, root, shape, columns, vals, application, at)
      SELECT CASE WHEN count(*) = 1 THEN a.relation ELSE 'batch:' || a.relation END,
          CASE WHEN count(*) = 1 THEN min(a.key) ELSE ARRAY[gen_random_uuid()::text] END,
          CASE WHEN count(*) = 1 THEN min(a.stamp) ELSE array_agg(a.stamp || (extract(epoch FROM a.at) * 1000000)::bigint ORDER BY a.key) END,
          CASE WHEN count(*) = 1 THEN min(a.root) ELSE array_agg(a.root ORDER BY a.key) FILTER (WHERE a.root IS NOT NULL) END,
          a.shape, a.columns,
          CASE WHEN count(*) = 1 THEN min(a.vals) ELSE array_agg(a.key || a.vals ORDER BY a.key) END,
          a.application, max(a.at)
        FROM alike a
        GROUP BY a.relation, a.shape, a.columns, a.application, a.stamp[1], cardinality(a.stamp), cardinality(a.root), a.turn, a.size,
          CASE WHEN NOT together THEN a.key END
      RETURNING ctid)
  SELECT array_agg(s.ctid) INTO places FROM sent s;
  IF places IS NOT NULL THEN
    DELETE FROM lanekeeper.change WHERE ctid = ANY (places);
  END IF;
END $$;

CREATE FUNCTION lanekeeper.send_written() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM lanekeeper.send_waiting(NEW.part);
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER send_written AFTER INSERT ON lanekeeper.written DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.opens) EXECUTE FUNCTION lanekeeper.send_written();

-- The first row of a transaction is sent at once, the others at its end or when there are many. Which is the first is kept
-- in a setting: whoever changes that sends earlier or later, and no less.
CREATE OR REPLACE FUNCTION lanekeeper.log_change(of_relation text, of_key text[], cols text[], row_vals text[]) RETURNS void
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
  logged text := coalesce(current_setting('lanekeeper.logged', true), '');
  number integer := CASE WHEN logged ~ '^\d{1,9}$' THEN logged::integer ELSE 0 END;
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
  -- To read one's own in a table of all would make serializable transactions fail that have nothing to do with each other.
  IF logged = '' OR current_setting('transaction_isolation') = 'serializable' THEN
    INSERT INTO lanekeeper.change (relation, key, stamp, root, shape, columns, vals, application, at)
      VALUES (of_relation, of_key, s, base_root, l.shape, cols, row_vals, app, written) RETURNING ctid INTO place;
    DELETE FROM lanekeeper.change WHERE ctid = place;
    IF logged = '' THEN
      PERFORM set_config('lanekeeper.logged', '1', true);
    END IF;
    RETURN;
  END IF;
  PERFORM lanekeeper.let_wait(number / 1000, ROW(of_relation, of_key, s, base_root, l.shape, cols, row_vals, app, written));
  IF number % 1000 = 999 THEN
    PERFORM lanekeeper.send_waiting(number / 1000);
  END IF;
  PERFORM set_config('lanekeeper.logged', (number + 1)::text, true);
END $$;

-- Until the end of the transaction. A row that waits already is replaced: nobody can have seen what it was in between.
CREATE FUNCTION lanekeeper.let_wait(of_part integer, c lanekeeper.change) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
BEGIN
  INSERT INTO lanekeeper.written AS w (xid, part, relation, key, stamp, root, shape, columns, vals, application, at, opens)
    VALUES (pg_current_xact_id(), of_part, c.relation, c.key, c.stamp, c.root, c.shape, c.columns, c.vals, c.application, c.at,
      NOT EXISTS (SELECT FROM lanekeeper.written x WHERE x.xid = pg_current_xact_id() AND x.part = of_part))
    ON CONFLICT (xid, part, relation, key) DO UPDATE SET stamp = excluded.stamp, root = excluded.root, shape = excluded.shape,
      columns = excluded.columns, vals = excluded.vals, application = excluded.application, at = excluded.at;
END $$;

-- Sends rows again; whoever has the same or more drops them. Returns how many.
CREATE OR REPLACE FUNCTION lanekeeper.announce(of_relation text, since timestamptz DEFAULT NULL, of_key text[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c lanekeeper.change;
  sent bigint := 0;
BEGIN
  FOR c IN SELECT * FROM lanekeeper.changes_of(of_relation, since, of_key) LOOP
    -- Beside those that this transaction may have written itself.
    PERFORM lanekeeper.let_wait((-1 - sent / 1000)::integer, c);
    sent := sent + 1;
    IF sent % 1000 = 0 THEN
      PERFORM lanekeeper.send_waiting((-sent / 1000)::integer);
    END IF;
  END LOOP;
  PERFORM lanekeeper.send_waiting((-1 - sent / 1000)::integer);
  RETURN sent;
END $$;

-- ── Where they arrive ────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE lanekeeper.arrival AS (number integer, key text[], stamp bigint[], root bigint[], at timestamptz);

-- The rows of a batch without their values, by number.
CREATE FUNCTION lanekeeper.arrivals_of(c lanekeeper.change) RETURNS lanekeeper.arrival[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  last integer := array_length(c.stamp, 2);
  of_key integer := cardinality(c.vals) / array_length(c.stamp, 1) - coalesce(cardinality(c.columns), 0);
BEGIN
  RETURN (SELECT array_agg(ROW(i, ARRAY(SELECT unnest(c.vals[i:i][:of_key])), ARRAY(SELECT unnest(c.stamp[i:i][:last - 1])),
      CASE WHEN c.root IS NOT NULL THEN ARRAY(SELECT unnest(c.root[i:i])) END,
      timestamptz 'epoch' + make_interval(secs => c.stamp[i][last] / 1000000) + make_interval(secs => c.stamp[i][last] % 1000000 / 1e6))::lanekeeper.arrival ORDER BY i)
    FROM generate_series(1, array_length(c.stamp, 1)) i);
END $$;

-- One of them as the change that it would have been by itself.
CREATE FUNCTION lanekeeper.change_of(c lanekeeper.change, a lanekeeper.arrival) RETURNS lanekeeper.change
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN ROW(substr(c.relation, 7), a.key, a.stamp, a.root, c.shape, c.columns,
    CASE WHEN c.columns IS NOT NULL THEN ARRAY(SELECT unnest(c.vals[a.number:a.number][cardinality(a.key) + 1:])) END, c.application, a.at)::lanekeeper.change;
END $$;

-- Merges of a batch what is simply newer, and drops what is here already. Returns the numbers of the others, of which nothing
-- was done: locked, or in conflict. Waits as little as `merge_row`; an error says nothing of any one row.
CREATE FUNCTION lanekeeper.merge_batch(c lanekeeper.change, arrivals lanekeeper.arrival[]) RETURNS integer[]
LANGUAGE plpgsql VOLATILE
-- Found by their keys, however many there are: a plan is kept for as long as a worker lives.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  of_relation text := substr(c.relation, 7);
  known integer[];
  newer integer[];
  places tid[];
  stale integer[];
  fresh integer[] := '{}';
  put integer[];
BEGIN
  IF c.shape IS NOT NULL AND NOT EXISTS (SELECT FROM lanekeeper.layout l WHERE l.relation = of_relation AND l.era = c.stamp[1][1]) THEN
    PERFORM lanekeeper.learn_layout(of_relation, c.stamp[1][1], c.shape);
  END IF;
  SELECT coalesce(array_agg(q.number), '{}'), coalesce(array_agg(q.number) FILTER (WHERE q.newer), '{}'),
      coalesce(array_agg(q.place) FILTER (WHERE q.newer), '{}'), coalesce(array_agg(q.number) FILTER (WHERE q.stale), '{}')
    INTO known, newer, places, stale
    FROM (SELECT h.number, h.place,
        h.stamp > h.present AND lanekeeper.covers(h.stamp, h.root, h.present) AS newer,
        h.stamp <= h.present AND lanekeeper.covers(h.present, h.present_root, h.stamp) AS stale
      FROM (SELECT x.ctid AS place, x.stamp AS present, x.root AS present_root, a.number, a.stamp, a.root
        FROM unnest(arrivals) a JOIN lanekeeper.version x ON x.relation = of_relation AND x.key = a.key
        FOR UPDATE OF x SKIP LOCKED) h) q;
  IF cardinality(known) < cardinality(arrivals) THEN
    SELECT coalesce(array_agg(a.number), '{}') INTO fresh FROM unnest(arrivals) a
      WHERE a.number <> ALL (known) AND NOT EXISTS (SELECT FROM lanekeeper.version x WHERE x.relation = of_relation AND x.key = a.key);
  END IF;
  put := lanekeeper.put_rows(of_relation, newer || fresh, c.columns, c.vals);
  IF put IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = format('%s is not merged here yet', of_relation), HINT = 'Run `lanekeeper apply` here.';
  END IF;
  UPDATE lanekeeper.version x SET stamp = (arrivals[p.number]).stamp, root = (arrivals[p.number]).root, deleted = c.columns IS NULL,
      application = c.application, at = (arrivals[p.number]).at
    FROM unnest(places, newer) p(place, number)
    WHERE x.ctid = p.place AND p.number = ANY (put);
  IF cardinality(fresh) > 0 THEN
    INSERT INTO lanekeeper.version (relation, key, stamp, root, deleted, application, at)
      SELECT of_relation, a.key, a.stamp, a.root, c.columns IS NULL, c.application, a.at FROM unnest(arrivals) a
        WHERE a.number = ANY (fresh) AND a.number = ANY (put) AND a.stamp[1] > 0;
  END IF;
  IF cardinality(put) + cardinality(stale) = cardinality(arrivals) THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(SELECT a.number FROM unnest(arrivals) a WHERE a.number <> ALL (put) AND a.number <> ALL (stale) ORDER BY a.number);
END $$;

-- One change out of a stream, or a batch of them. Whatever goes wrong with a row is kept and not raised, since a worker would
-- try for ever; but the worker may try again what is no fault of the change: no space, no memory, something broken.
CREATE OR REPLACE FUNCTION lanekeeper.apply_change() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' AS $$
DECLARE
  arrivals lanekeeper.arrival[];
  left_over integer[];
  number integer;
BEGIN
  IF current_setting('lanekeeper.pinned', true) IS DISTINCT FROM 'yes' THEN
    PERFORM lanekeeper.pin_settings();
  END IF;
  IF array_ndims(NEW.stamp) = 2 THEN
    arrivals := lanekeeper.arrivals_of(NEW);
    BEGIN
      left_over := lanekeeper.merge_batch(NEW, arrivals);
    EXCEPTION WHEN others THEN
      IF left(SQLSTATE, 2) IN ('53', '58', 'XX') THEN
        RAISE;
      END IF;
      -- Whichever it was: each by itself.
      left_over := ARRAY(SELECT generate_subscripts(arrivals, 1));
    END;
    FOREACH number IN ARRAY left_over LOOP
      PERFORM lanekeeper.merge_one(lanekeeper.change_of(NEW, arrivals[number]));
    END LOOP;
    RETURN NULL;
  END IF;
  PERFORM lanekeeper.merge_one(NEW);
  RETURN NULL;
END $$;

CREATE FUNCTION lanekeeper.merge_one(c lanekeeper.change) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  why text := NULL;
  state text;
BEGIN
  BEGIN
    IF left(c.relation, 11) = 'lanekeeper.' THEN
      PERFORM lanekeeper.hear(c);
    ELSIF lanekeeper.merge_row(c) = 'locked' THEN
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
    PERFORM lanekeeper.keep_pending(c, why, state);
  END IF;
END $$;

-- As before, but for batches that are pending.
CREATE OR REPLACE FUNCTION lanekeeper.merge_row(c lanekeeper.change) RETURNS text
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
  IF array_ndims(c.stamp) = 2 THEN
    -- Kept whole by a version that did not read it.
    PERFORM lanekeeper.keep_pending(lanekeeper.change_of(c, a), 'arrived in a batch', NULL) FROM unnest(lanekeeper.arrivals_of(c)) a;
    RETURN 'merged';
  END IF;
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

-- As before, and says that batches are read here.
CREATE OR REPLACE FUNCTION lanekeeper.mark_merged() RETURNS bigint
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
  PERFORM lanekeeper.tell('lanekeeper.mark', ARRAY[lanekeeper.dc()], ARRAY[number], NULL, ARRAY[(known || '{"lanekeeper.batches": 1}')::text]);
  RETURN number;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.batches_are_read(), lanekeeper.send_waiting(integer), lanekeeper.send_written(), lanekeeper.let_wait(integer, lanekeeper.change),
  lanekeeper.arrivals_of(lanekeeper.change), lanekeeper.change_of(lanekeeper.change, lanekeeper.arrival),
  lanekeeper.merge_batch(lanekeeper.change, lanekeeper.arrival[]), lanekeeper.merge_one(lanekeeper.change) FROM PUBLIC;
