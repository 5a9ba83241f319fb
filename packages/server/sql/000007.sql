-- Stranded transactions: what a data center committed beyond the cut at which it was taken over (R5). They are kept as they
-- were until somebody decides, and the rows that they touched are put back to what the present home has.
--
-- A row travels as text: names and values as PostgreSQL prints them with the settings below pinned, and back through the
-- type's own input function. JSON would lose JSON null, -0, array bounds and dates in another DateStyle.

-- ── Rows as text ─────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION lanekeeper.quoted(of_relation text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN format('%I.%I', split_part(of_relation, '.', 1), substr(of_relation, strpos(of_relation, '.') + 1));
END $$;

-- One statement that writes one row: `insert`, `update` (of the named columns) or `delete`. Generated columns are left out.
CREATE FUNCTION lanekeeper.row_statement(kind text, of_relation text, key_columns text[], key text[], columns text[], vals text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target oid := lanekeeper.quoted(of_relation)::regclass;
  place text := lanekeeper.quoted(of_relation);
  match text;
  missing text;
  names text;
  literals text;
  pairs text;
BEGIN
  IF kind <> 'insert' AND (SELECT relkind FROM pg_class WHERE oid = target) <> 'p' THEN
    place := 'ONLY ' || place;
  END IF;
  IF kind <> 'insert' THEN
    SELECT string_agg(CASE WHEN v.value IS NULL THEN format('t.%I IS NULL', v.name)
        ELSE format('t.%I = %L::%s', v.name, v.value, format_type(a.atttypid, a.atttypmod)) END, ' AND '), max(v.name) FILTER (WHERE a.attname IS NULL)
      INTO match, missing
      FROM unnest(key_columns, key) v(name, value) LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped;
    IF missing IS NOT NULL OR match IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('%s has no column %s', of_relation, coalesce(missing, 'that is its key'));
    END IF;
    IF kind = 'delete' THEN
      RETURN format('DELETE FROM %s t WHERE %s', place, match);
    END IF;
  END IF;
  SELECT string_agg(format('%I', v.name), ', '), string_agg(format('%L::%s', v.value, format_type(a.atttypid, a.atttypmod)), ', '),
      string_agg(format('%I = %L::%s', v.name, v.value, format_type(a.atttypid, a.atttypmod)), ', '), max(v.name) FILTER (WHERE a.attname IS NULL)
    INTO names, literals, pairs, missing
    FROM unnest(columns, vals) v(name, value) LEFT JOIN pg_attribute a ON a.attrelid = target AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped
    WHERE coalesce(a.attgenerated, '') = '';
  IF missing IS NOT NULL OR names IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('%s has no column %s', of_relation, coalesce(missing, 'to write'));
  END IF;
  IF kind = 'update' THEN
    RETURN format('UPDATE %s t SET %s WHERE %s', place, pairs, match);
  END IF;
  RETURN format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)', place, names, literals);
END $$;

-- A row by its key, and who wrote its present version; all NULL when there is none. `lock` keeps others from changing it
-- until the transaction ends, and sees what they wrote before.
CREATE FUNCTION lanekeeper.read_row(of_relation text, key_columns text[], key text[], lock boolean, OUT columns text[], OUT vals text[], OUT written xid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET bytea_output = 'hex' SET extra_float_digits = 1
SET xmloption = 'content' SET lc_monetary = 'C' AS $$
DECLARE
  target oid := lanekeeper.quoted(of_relation)::regclass;
  place text := lanekeeper.quoted(of_relation);
  match text;
  exprs text;
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = target) <> 'p' THEN
    place := 'ONLY ' || place;
  END IF;
  SELECT array_agg(a.attname::text ORDER BY a.attnum),
      string_agg(format('CASE WHEN t.%1$I IS DISTINCT FROM NULL THEN format(''%%s'', t.%1$I) END', a.attname), ', ' ORDER BY a.attnum)
    INTO columns, exprs
    FROM pg_attribute a WHERE a.attrelid = target AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
  SELECT string_agg(CASE WHEN v.value IS NULL THEN format('t.%I IS NULL', v.name)
      ELSE format('t.%I = %L::%s', v.name, v.value, format_type(a.atttypid, a.atttypmod)) END, ' AND ')
    INTO match
    FROM unnest(key_columns, key) v(name, value) JOIN pg_attribute a ON a.attrelid = target AND a.attname = v.name AND a.attnum > 0 AND NOT a.attisdropped;
  EXECUTE format('SELECT ARRAY[%s]::text[], t.xmin FROM %s t WHERE %s LIMIT 1%s', exprs, place, match, CASE WHEN lock THEN ' FOR NO KEY UPDATE' ELSE '' END)
    INTO vals, written;
  IF vals IS NULL THEN
    columns := NULL;
  END IF;
END $$;

-- Whose a row is. NULL: nobody's, or it cannot be known from these columns.
CREATE FUNCTION lanekeeper.whose(of_relation text, columns text[], vals text[]) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF of_relation IN ('lanekeeper.deed', 'lanekeeper.acceptance', 'lanekeeper.adoption', 'lanekeeper.outcome', 'lanekeeper.claim') THEN
    RETURN vals[array_position(columns, 'account')];
  ELSIF of_relation LIKE 'lanekeeper.%' THEN
    RETURN NULL;
  END IF;
  RETURN lanekeeper.account_of(of_relation, columns, vals);
END $$;

-- The account whose deed guards a row: a claim belongs to its bucket, whoever holds it.
CREATE FUNCTION lanekeeper.guardian(of_relation text, columns text[], vals text[]) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF of_relation = 'lanekeeper.claim' THEN
    RETURN lanekeeper.claim_bucket(vals[array_position(columns, 'name')], vals[array_position(columns, 'value')]);
  END IF;
  RETURN lanekeeper.whose(of_relation, columns, vals);
END $$;

-- Whether a row version is what a snapshot saw: xmin is 32 bits of a number that goes on.
CREATE FUNCTION lanekeeper.was_visible(written xid, seen pg_snapshot) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  low numeric := written::text::numeric;
  upper_bound numeric := pg_snapshot_xmax(pg_current_snapshot())::text::numeric;
  whole numeric := upper_bound - mod(upper_bound, 4294967296) + low;
BEGIN
  IF seen IS NULL THEN
    RETURN false;
  ELSIF low < 3 THEN
    RETURN true; -- frozen
  ELSIF whole > upper_bound THEN
    whole := whole - 4294967296;
  END IF;
  RETURN whole < 0 OR pg_visible_in_snapshot(whole::text::xid8, seen);
END $$;

-- ── The ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.stranded (
  dc text NOT NULL,
  generation bigint NOT NULL,
  end_lsn pg_lsn NOT NULL,
  sequence integer NOT NULL,
  xid bigint NOT NULL,
  committed_at timestamptz NOT NULL,
  term bigint NOT NULL,
  account text,
  unresolved text,
  relation text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('insert', 'update', 'delete')),
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  old_key text[],
  base_from text CHECK (base_from IN ('none', 'stream', 'home', 'chain')),
  base_columns text[],
  base text[],
  image_columns text[],
  image text[],
  unchanged text[] NOT NULL DEFAULT '{}',
  recorded_in text NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'merged', 'discarded')),
  decided_by text,
  decided_at timestamptz,
  decided_in text,
  reason text,
  purged_at timestamptz,
  PRIMARY KEY (dc, generation, end_lsn, sequence),
  CHECK ((state = 'open') = (decided_at IS NULL))
);
CREATE INDEX stranded_row ON lanekeeper.stranded USING hash (key);
CREATE INDEX stranded_old_row ON lanekeeper.stranded USING hash (old_key);
CREATE INDEX stranded_open ON lanekeeper.stranded (dc, generation, end_lsn) WHERE state = 'open';
CREATE INDEX stranded_account ON lanekeeper.stranded (account, end_lsn);
COMMENT ON TABLE lanekeeper.stranded IS 'Changes committed in a data center beyond the cut at which it was taken over, one row each. Written at the successor before anything is undone, replicated, decided by a declaration or a person.';
COMMENT ON COLUMN lanekeeper.stranded.end_lsn IS 'The end of the source transaction''s commit in that data center''s log: with dc and generation, the transaction''s name.';
COMMENT ON COLUMN lanekeeper.stranded.term IS 'Of the succession that took over.';
COMMENT ON COLUMN lanekeeper.stranded.unresolved IS 'Why the account is not known.';
COMMENT ON COLUMN lanekeeper.stranded.old_key IS 'When the change moved the row to another key.';
COMMENT ON COLUMN lanekeeper.stranded.base IS 'The row before the change. `base_from`: none (there was none), stream (it was in the log), home (the successor''s row, not written since the takeover), chain (an earlier stranded change left it so); null: only partly known.';
COMMENT ON COLUMN lanekeeper.stranded.unchanged IS 'Columns with large values that the change left alone and nobody knew.';
COMMENT ON COLUMN lanekeeper.stranded.purged_at IS 'Keys and rows are removed so long after the decision; who decided what, when and why stays.';

-- Returns how many changes are new. `changes` is an array of objects with the columns' names; those of one row come in the
-- order in which they were committed. Repeating it changes nothing.
-- The ledger grows while it is written: a plan made when it was small would read all of it for each change.
CREATE FUNCTION lanekeeper.record_stranded(of_dc text, of_generation bigint, of_term bigint, changes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
  seen pg_snapshot := (SELECT t.snapshot FROM lanekeeper.takeover t WHERE t.term = of_term);
  s lanekeeper.stranded;
  prior lanekeeper.stranded;
  found_at text[];
  present record;
  recorded integer := 0;
BEGIN
  FOR s IN SELECT * FROM jsonb_populate_recordset(NULL::lanekeeper.stranded, changes) ORDER BY end_lsn, sequence LOOP
    CONTINUE WHEN EXISTS (SELECT FROM lanekeeper.stranded x
      WHERE x.dc = of_dc AND x.generation = of_generation AND x.end_lsn = s.end_lsn AND x.sequence = s.sequence);
    s.dc := of_dc;
    s.generation := of_generation;
    s.term := of_term;
    s.recorded_in := lanekeeper.dc();
    s.recorded_at := clock_timestamp();
    s.state := 'open';
    s.unchanged := coalesce(s.unchanged, '{}');

    found_at := coalesce(s.old_key, s.key);
    SELECT * INTO prior FROM (
        SELECT * FROM lanekeeper.stranded a WHERE a.key = found_at
        UNION ALL SELECT * FROM lanekeeper.stranded b WHERE b.old_key = found_at AND b.key <> found_at) x
      WHERE x.dc = of_dc AND x.generation = of_generation AND x.relation = s.relation AND (x.end_lsn, x.sequence) < (s.end_lsn, s.sequence)
      ORDER BY x.end_lsn DESC, x.sequence DESC LIMIT 1;
    IF s.kind = 'insert' THEN
      s.base_from := 'none';
    ELSIF FOUND THEN
      IF prior.key = found_at AND prior.kind <> 'delete' AND prior.base_from IS NOT NULL AND prior.unchanged = '{}' THEN
        s.base_from := 'chain';
        s.base_columns := prior.image_columns;
        s.base := prior.image;
      END IF;
    ELSIF s.base_from IS NULL THEN
      SELECT * INTO present FROM lanekeeper.read_row(s.relation, s.key_columns, found_at, false);
      IF lanekeeper.was_visible(present.written, seen) THEN
        s.base_from := 'home';
        s.base_columns := present.columns;
        s.base := present.vals;
      END IF;
    END IF;
    IF s.kind = 'update' AND s.base IS NOT NULL AND s.unchanged <> '{}' THEN
      SELECT s.image_columns || coalesce(array_agg(b.name), '{}'), s.image || coalesce(array_agg(b.value), '{}')
        INTO s.image_columns, s.image
        FROM unnest(s.base_columns, s.base) b(name, value) WHERE b.name = ANY (s.unchanged) AND NOT b.name = ANY (s.image_columns);
      s.unchanged := ARRAY(SELECT u FROM unnest(s.unchanged) u WHERE NOT u = ANY (s.image_columns));
    END IF;

    s.account := coalesce(s.account, lanekeeper.whose(s.relation, s.image_columns, s.image), lanekeeper.whose(s.relation, s.base_columns, s.base));
    IF s.account IS NOT NULL THEN
      s.unresolved := NULL;
    END IF;
    IF s.relation IN ('lanekeeper.acceptance', 'lanekeeper.adoption', 'lanekeeper.succession', 'lanekeeper.subscribed', 'lanekeeper.stranded')
       OR s.relation = 'lanekeeper.deed' AND s.kind <> 'insert' THEN
      s.state := 'discarded';
      s.decided_by := 'lanekeeper';
      s.decided_at := clock_timestamp();
      s.decided_in := lanekeeper.dc();
      s.reason := 'bookkeeping: the takeover decided it anew';
    END IF;
    INSERT INTO lanekeeper.stranded SELECT s.*;
    recorded := recorded + 1;
  END LOOP;
  RETURN recorded;
END $$;

-- Removes rows and keys so long after they were decided, not the decision. Returns how many.
CREATE FUNCTION lanekeeper.purge_stranded(older_than interval, at_most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  purged integer;
BEGIN
  UPDATE lanekeeper.stranded SET key = '{}', old_key = NULL, base_columns = NULL, base = NULL, image_columns = NULL, image = NULL, purged_at = clock_timestamp()
    WHERE (dc, generation, end_lsn, sequence) IN (SELECT x.dc, x.generation, x.end_lsn, x.sequence FROM lanekeeper.stranded x
      WHERE x.decided_at < clock_timestamp() - older_than AND x.purged_at IS NULL AND x.recorded_in = lanekeeper.dc() LIMIT at_most);
  GET DIAGNOSTICS purged = ROW_COUNT;
  RETURN purged;
END $$;

-- ── Undo, in the data center that returns ────────────────────────────────────────────────────────────────────────────

-- Takes the rows of these keys away: [{relation, key_columns, key}]. Only as replica, so that nothing follows from it, and
-- under an origin, so that nobody hears of it.
CREATE FUNCTION lanekeeper.undo_rows(keys jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' AS $$
DECLARE
  k record;
  n integer;
  undone integer := 0;
BEGIN
  IF current_setting('session_replication_role') <> 'replica' THEN
    RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'rows are undone as replica only';
  END IF;
  FOR k IN SELECT * FROM jsonb_to_recordset(keys) AS x(relation text, key_columns text[], key text[]) LOOP
    EXECUTE lanekeeper.row_statement('delete', k.relation, k.key_columns, k.key, NULL, NULL);
    GET DIAGNOSTICS n = ROW_COUNT;
    undone := undone + n;
  END LOOP;
  RETURN undone;
END $$;

-- ── Repair, in the stream ────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.repair (
  dc text NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  relation text NOT NULL,
  key_columns text[] NOT NULL,
  key text[] NOT NULL,
  columns text[],
  vals text[],
  PRIMARY KEY (dc, id)
);
COMMENT ON TABLE lanekeeper.repair IS 'A row as its home has it, or (without columns) that there is none. Written and deleted in one transaction, so it is always empty; what reads the stream puts the row in place.';

-- Sends a row as it is here, or that there is none, to those who read this data center's stream. It holds the row, so that
-- whatever is written later arrives later. An absent row cannot be held: look again afterwards (`resendRow` does).
-- 'sent', 'absent'; or nothing was sent: 'elsewhere' (its account is written in another data center), 'unknown-account',
-- 'no-such-table'.
CREATE FUNCTION lanekeeper.resend(of_relation text, of_key_columns text[], of_key text[], of_account text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r record;
  owner text;
  d lanekeeper.deed;
  latest bigint;
  number bigint;
BEGIN
  IF to_regclass(lanekeeper.quoted(of_relation)) IS NULL THEN
    RETURN 'no-such-table';
  END IF;
  SELECT * INTO r FROM lanekeeper.read_row(of_relation, of_key_columns, of_key, true);
  IF r.columns IS NULL THEN
    owner := of_account;
  ELSE
    owner := lanekeeper.guardian(of_relation, r.columns, r.vals);
    IF owner IS NULL AND of_relation NOT LIKE 'lanekeeper.%' THEN
      RETURN 'unknown-account';
    END IF;
  END IF;
  IF owner IS NOT NULL THEN
    -- As the fence does, so that a move or a succession waits for this too.
    SELECT deed.* INTO d FROM lanekeeper.deed WHERE account = owner FOR SHARE;
    SELECT max(s.term) INTO latest FROM lanekeeper.succession s;
    IF coalesce(latest, 1) < pg_sequence_last_value('lanekeeper.view'::regclass) THEN
      PERFORM lanekeeper.refuse_old_view();
    ELSIF d.account IS NOT NULL AND lanekeeper.resolve(d.home, d.term) <> lanekeeper.dc() AND of_relation <> 'lanekeeper.deed' THEN
      RETURN 'elsewhere';
    END IF;
  END IF;
  INSERT INTO lanekeeper.repair (dc, relation, key_columns, key, columns, vals)
    VALUES (lanekeeper.dc(), of_relation, of_key_columns, of_key, r.columns, r.vals) RETURNING repair.id INTO number;
  DELETE FROM lanekeeper.repair WHERE repair.dc = lanekeeper.dc() AND repair.id = number;
  RETURN CASE WHEN r.columns IS NULL THEN 'absent' ELSE 'sent' END;
END $$;

-- Puts a row in place of what is here. The row of `repair` itself is let in, for its deletion follows. What cannot be done
-- is an incident and not an error: the stream goes on (`verify` finds the row again). An epoch never falls (E1).
CREATE FUNCTION lanekeeper.apply_repair() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET TimeZone = 'UTC' SET bytea_output = 'hex' SET extra_float_digits = 1
SET xmloption = 'content' SET lc_monetary = 'C' AS $$
DECLARE
  present lanekeeper.deed;
  sent_term bigint;
  sent_counter bigint;
BEGIN
  IF NEW.relation = 'lanekeeper.deed' THEN
    SELECT * INTO present FROM lanekeeper.deed WHERE account = NEW.key[1];
    sent_term := NEW.vals[array_position(NEW.columns, 'term')];
    sent_counter := NEW.vals[array_position(NEW.columns, 'counter')];
    IF present.account IS NOT NULL AND (sent_term IS NULL OR (present.term, present.counter) > (sent_term, sent_counter)) THEN
      INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-regress', json_build_object('present', present, 'repair', to_json(NEW.vals)));
      RETURN NEW;
    END IF;
  END IF;
  BEGIN
    EXECUTE lanekeeper.row_statement('delete', NEW.relation, NEW.key_columns, NEW.key, NULL, NULL);
    IF NEW.columns IS NOT NULL THEN
      EXECUTE lanekeeper.row_statement('insert', NEW.relation, NEW.key_columns, NEW.key, NEW.columns, NEW.vals);
    END IF;
  EXCEPTION WHEN others THEN
    -- Locks, deadlocks, resources and cancellation: the worker tries again.
    IF left(SQLSTATE, 2) IN ('40', '53', '55', '57', '58', 'XX') THEN
      RAISE;
    END IF;
    INSERT INTO lanekeeper.incident (kind, detail) VALUES ('repair-failed',
      json_build_object('from', NEW.dc, 'relation', NEW.relation, 'key', NEW.key, 'sqlstate', SQLSTATE, 'message', SQLERRM));
    RETURN NEW;
  END;
  IF sent_term IS NOT NULL THEN
    PERFORM pg_notify('lanekeeper_app', json_build_object('kind', 'deed', 'account', NEW.key[1],
      'home', NEW.vals[array_position(NEW.columns, 'home')], 'term', sent_term, 'counter', sent_counter)::text);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER apply_repair BEFORE INSERT ON lanekeeper.repair FOR EACH ROW EXECUTE FUNCTION lanekeeper.apply_repair();
ALTER TABLE lanekeeper.repair ENABLE REPLICA TRIGGER apply_repair;

-- ── Seeding again ────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.joining (
  dc text PRIMARY KEY,
  source text NOT NULL,
  id text NOT NULL,
  stage text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}',
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.joining IS 'How far a `join` has come: the same row in the data center that is seeded and in the one it is seeded from. Where the two do not agree, it begins anew. Never replicated.';

REVOKE ALL ON FUNCTION lanekeeper.quoted(text), lanekeeper.row_statement(text, text, text[], text[], text[], text[]),
  lanekeeper.read_row(text, text[], text[], boolean), lanekeeper.whose(text, text[], text[]), lanekeeper.guardian(text, text[], text[]), lanekeeper.was_visible(xid, pg_snapshot),
  lanekeeper.record_stranded(text, bigint, bigint, jsonb), lanekeeper.purge_stranded(interval, integer), lanekeeper.undo_rows(jsonb),
  lanekeeper.resend(text, text[], text[], text), lanekeeper.apply_repair() FROM PUBLIC;
