-- Coming back among three: from a takeover whose successor was taken over itself, to peers of which one may be away, with rows of
-- others that nobody alive has.

-- ── What was visible at a takeover ───────────────────────────────────────────────────────────────────────────────────

-- In every data center, since any of them may become the one at which a data center comes back: what its stream brings behind the row
-- of the takeover was written afterwards. One that copies the row with everything else has seen nothing of that.
CREATE FUNCTION lanekeeper.keep_snapshot() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.kind = 'take' AND NOT EXISTS (SELECT FROM lanekeeper.joining j WHERE j.dc = lanekeeper.dc()) THEN
    INSERT INTO lanekeeper.takeover (term, snapshot) VALUES (NEW.term, pg_current_snapshot()) ON CONFLICT DO NOTHING;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER keep_snapshot AFTER INSERT ON lanekeeper.succession FOR EACH ROW EXECUTE FUNCTION lanekeeper.keep_snapshot();
ALTER TABLE lanekeeper.succession ENABLE ALWAYS TRIGGER keep_snapshot;

-- ── The ledger ───────────────────────────────────────────────────────────────────────────────────────────────────────

COMMENT ON COLUMN lanekeeper.stranded.xid IS 'Of the source transaction. Negative: its copy, in the log of another data center that had applied it, where it was read. 0: there was no log left.';

-- As before (000007.sql), and: what another data center has told of a transaction is all of it, and is not told again by the one
-- whose transaction it was. Entries of the ledger that were stranded themselves are entries of this one.
CREATE OR REPLACE FUNCTION lanekeeper.record_stranded(of_dc text, of_generation bigint, of_term bigint, changes jsonb) RETURNS integer
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
      WHERE x.dc = of_dc AND x.generation = of_generation AND x.end_lsn = s.end_lsn AND (x.sequence = s.sequence OR x.xid < 0 AND s.xid > 0));
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

    IF s.relation = 'lanekeeper.stranded' AND s.kind = 'insert' THEN
      EXECUTE lanekeeper.row_statement('insert', s.relation, s.key_columns, s.key, s.image_columns, s.image) || ' ON CONFLICT DO NOTHING';
    END IF;
    s.account := coalesce(s.account, lanekeeper.whose(s.relation, s.image_columns, s.image), lanekeeper.whose(s.relation, s.base_columns, s.base));
    IF s.account IS NOT NULL THEN
      s.unresolved := NULL;
    END IF;
    IF s.relation IN ('lanekeeper.acceptance', 'lanekeeper.adoption', 'lanekeeper.succession', 'lanekeeper.subscribed', 'lanekeeper.stranded', 'lanekeeper.homed_as')
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

-- ── Undo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- As before (000007.sql), and: a deed with `keep` is left in place, as one of that data center which everything that comes is newer than. Were it gone, the streams could not change it, and a third one's mark would wait for a deed that is sent behind it.
CREATE OR REPLACE FUNCTION lanekeeper.undo_rows(keys jsonb) RETURNS integer
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
  FOR k IN SELECT * FROM jsonb_to_recordset(keys) AS x(relation text, key_columns text[], key text[], keep text) LOOP
    CONTINUE WHEN k.keep IS NOT NULL AND EXISTS (SELECT FROM lanekeeper.deed d
      WHERE d.account = k.key[1] AND (d.home, d.term, d.counter) = (k.keep, 1, 0));
    EXECUTE lanekeeper.row_statement('delete', k.relation, k.key_columns, k.key, NULL, NULL);
    GET DIAGNOSTICS n = ROW_COUNT;
    undone := undone + n;
    IF n > 0 AND k.keep IS NOT NULL THEN
      INSERT INTO lanekeeper.deed (account, home, term, counter) VALUES (k.key[1], k.keep, 1, 0);
    END IF;
  END LOOP;
  RETURN undone;
END $$;

-- ── Sending again, where more than one may be the home ───────────────────────────────────────────────────────────────

-- Sends a row if this data center is the home of its account. `first`: also what belongs to no account. Nothing is sent ('nobodys')
-- of a row that is not here, and whose account nobody has.
CREATE FUNCTION lanekeeper.resend_own(of_relation text, of_key_columns text[], of_key text[], of_account text, first boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r record;
  owner text := of_account;
  d lanekeeper.deed;
BEGIN
  IF to_regclass(lanekeeper.quoted(of_relation)) IS NULL THEN
    RETURN 'no-such-table';
  END IF;
  SELECT * INTO r FROM lanekeeper.read_row(of_relation, of_key_columns, of_key, true);
  IF r.columns IS NOT NULL THEN
    owner := lanekeeper.guardian(of_relation, r.columns, r.vals);
    IF owner IS NULL AND of_relation NOT LIKE 'lanekeeper.%' THEN
      RETURN 'unknown-account';
    END IF;
  END IF;
  SELECT deed.* INTO d FROM lanekeeper.deed WHERE account = owner FOR SHARE;
  IF d.account IS NULL THEN
    -- Nobody's acceptance is the mark of a switchover: whoever has to put it down does that again (`land`), in its own stream.
    IF r.columns IS NULL OR of_relation = 'lanekeeper.acceptance' AND of_key[array_position(of_key_columns, 'account')] = '' THEN
      RETURN 'nobodys';
    ELSIF NOT first THEN
      RETURN 'elsewhere';
    END IF;
  ELSIF lanekeeper.resolve(d.home, d.term) <> lanekeeper.dc() THEN
    RETURN 'elsewhere';
  END IF;
  RETURN lanekeeper.resend(of_relation, of_key_columns, of_key, owner);
END $$;

-- As before (000007.sql), and: an older deed from one who is not its home any more is late, which is nothing to report.
CREATE OR REPLACE FUNCTION lanekeeper.apply_repair() RETURNS trigger
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
      IF sent_term IS NULL OR present.home = NEW.dc THEN
        INSERT INTO lanekeeper.incident (kind, detail) VALUES ('deed-regress', json_build_object('present', present, 'repair', to_json(NEW.vals)));
      END IF;
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

REVOKE ALL ON FUNCTION lanekeeper.keep_snapshot(), lanekeeper.resend_own(text, text[], text[], text, boolean) FROM PUBLIC;
