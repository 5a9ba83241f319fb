-- Columns that are about to be dropped.

-- For the owner of the tables. Rows of a table are sent without these columns from here on; without any, with all columns again. What is
-- in the log already keeps them: a data center that has dropped one cannot apply that, now or ever. Returns the publications that
-- were changed. (PostgreSQL 18 manual, section 29.4 "Column Lists".)
CREATE FUNCTION lanekeeper.leave_out(of_table regclass, VARIADIC columns text[] DEFAULT '{}') RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  wrong text;
  sent text := '';
  changed text[] := '{}';
  publication name;
BEGIN
  IF cardinality(columns) > 0 THEN
    SELECT string_agg(c, ', ') INTO wrong FROM unnest(columns) c
      WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = of_table AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped);
    IF wrong IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('%s has no column %s', of_table, wrong);
    END IF;
    SELECT string_agg(a.attname, ', ') INTO wrong FROM pg_attribute a
      JOIN pg_index i ON i.indrelid = a.attrelid AND a.attnum = ANY (i.indkey)
      JOIN pg_class t ON t.oid = a.attrelid
      WHERE a.attrelid = of_table AND a.attname = ANY (columns) AND (t.relreplident = 'i' AND i.indisreplident OR i.indisprimary);
    IF wrong IS NOT NULL OR (SELECT t.relreplident = 'f' FROM pg_class t WHERE t.oid = of_table) THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('rows of %s are found by %s in other data centers', of_table, coalesce(wrong, 'all of their columns'));
    END IF;
    SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')' INTO sent FROM pg_attribute a
      WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname <> ALL (columns);
  END IF;
  FOR publication IN
    SELECT p.pubname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
      WHERE r.prrelid = of_table AND p.pubname IN ('lanekeeper_homed', 'lanekeeper_rest', 'lanekeeper_relay') ORDER BY 1
  LOOP
    EXECUTE format('ALTER PUBLICATION %I DROP TABLE ONLY %s', publication, of_table);
    EXECUTE format('ALTER PUBLICATION %I ADD TABLE ONLY %s%s', publication, of_table, sent);
    changed := changed || publication::text;
  END LOOP;
  RETURN changed;
END $$;
REVOKE ALL ON FUNCTION lanekeeper.leave_out(regclass, text[]) FROM PUBLIC;
