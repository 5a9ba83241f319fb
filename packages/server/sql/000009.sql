-- Classes: publishing, copies as of a moment.

-- ── Publishing: the only time when a read-only or static-content table is written ───────────────────────────────────

CREATE TABLE lanekeeper.publishing (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relations text[] NOT NULL CHECK (cardinality(relations) > 0),
  xid xid8,
  roles text[],
  opened_by text NOT NULL DEFAULT session_user,
  application text NOT NULL DEFAULT current_setting('application_name'),
  reason text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  until timestamptz NOT NULL,
  ended_at timestamptz,
  CHECK ((xid IS NULL) <> (roles IS NULL))
);
CREATE INDEX publishing_xid ON lanekeeper.publishing (xid) WHERE xid IS NOT NULL;
CREATE INDEX publishing_open ON lanekeeper.publishing (until) WHERE xid IS NULL AND ended_at IS NULL;
COMMENT ON TABLE lanekeeper.publishing IS 'Who published what, and when: one transaction, or a time for roles. Only here: never replicated.';
COMMENT ON COLUMN lanekeeper.publishing.xid IS 'The one transaction that may write; null for a time.';
COMMENT ON COLUMN lanekeeper.publishing.roles IS 'Who may write meanwhile, by the role that logged in; null for a transaction.';

-- Names as `products` or `public.products`, all declared as fed by this data center; none at all means every one that is.
CREATE FUNCTION lanekeeper.publishable(asked text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  name text;
  fed_by text;
  found_names text[] := '{}';
BEGIN
  IF cardinality(asked) = 0 THEN
    found_names := ARRAY(SELECT f.relation FROM lanekeeper.fed() f WHERE f.feeder = lanekeeper.dc() AND f.gated AND f.copied IS NOT TRUE ORDER BY 1);
    IF cardinality(found_names) = 0 THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('no table is published by %s', lanekeeper.dc());
    END IF;
    RETURN found_names;
  END IF;
  FOREACH name IN ARRAY asked LOOP
    name := CASE WHEN name LIKE '%.%' THEN name ELSE 'public.' || name END;
    SELECT f.feeder INTO fed_by FROM lanekeeper.fed() f WHERE f.relation = name;
    IF fed_by IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s is not a table that anybody publishes', name),
        HINT = 'Published are tables declared read-only or static-content.';
    ELSIF fed_by <> lanekeeper.dc() THEN
      PERFORM lanekeeper.refuse('LK007', format('%s is published by %s, not by %s', name, fed_by, lanekeeper.dc()), name, NULL, fed_by,
        NULL, NULL, format('Publish it in %s.', fed_by));
    END IF;
    found_names := found_names || name;
  END LOOP;
  RETURN found_names;
END $$;

-- This transaction publishes: from here to its end, for at most an hour, it may write these tables. Returns until when.
CREATE FUNCTION lanekeeper.publishing(VARIADIC tables text[] DEFAULT '{}') RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ends timestamptz := clock_timestamp() + interval '1 hour';
BEGIN
  INSERT INTO lanekeeper.publishing (relations, xid, until) VALUES (lanekeeper.publishable(tables), pg_current_xact_id(), ends);
  RETURN ends;
END $$;

-- For a time: whoever logs in as one of these roles, or as a member of one, may write these tables. Returns its number.
CREATE FUNCTION lanekeeper.begin_publishing(tables text[], for_roles text[], for_ms bigint, why text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  unknown text;
  number bigint;
BEGIN
  IF for_ms IS NULL OR NOT for_ms BETWEEN 1000 AND 86400000 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'publishing lasts between one second and one day';
  END IF;
  SELECT r INTO unknown FROM unnest(for_roles) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) LIMIT 1;
  IF FOUND OR coalesce(cardinality(for_roles), 0) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('there is no role %s to publish as', unknown);
  END IF;
  INSERT INTO lanekeeper.publishing (relations, roles, until, reason)
    VALUES (lanekeeper.publishable(tables), for_roles, clock_timestamp() + make_interval(secs => for_ms / 1000.0), why)
    RETURNING id INTO number;
  RETURN number;
END $$;

-- Goes on for so long from now. False: it has ended.
CREATE FUNCTION lanekeeper.renew_publishing(number bigint, for_ms bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE lanekeeper.publishing SET until = clock_timestamp() + make_interval(secs => least(for_ms, 86400000) / 1000.0)
    WHERE id = number AND xid IS NULL AND ended_at IS NULL AND until > clock_timestamp();
  RETURN FOUND;
END $$;

-- One, or all that are open. Returns how many. Transactions that still write are waited for: once this has committed, nobody does.
CREATE FUNCTION lanekeeper.end_publishing(number bigint DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ended integer;
BEGIN
  PERFORM FROM lanekeeper.publishing p
    WHERE p.xid IS NULL AND p.ended_at IS NULL AND p.until > clock_timestamp() AND (number IS NULL OR p.id = number)
    ORDER BY p.id FOR UPDATE;
  UPDATE lanekeeper.publishing SET ended_at = clock_timestamp()
    WHERE xid IS NULL AND ended_at IS NULL AND until > clock_timestamp() AND (number IS NULL OR id = number);
  GET DIAGNOSTICS ended = ROW_COUNT;
  RETURN ended;
END $$;

-- A marker in a setting could be forged: it is rows of a private table that count. A time is locked, so that who ends it waits
-- for whoever still writes by it; who renews it does not.
CREATE FUNCTION lanekeeper.may_publish(relation text) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM FROM lanekeeper.publishing p
    WHERE p.xid = pg_current_xact_id_if_assigned() AND relation = ANY (p.relations) AND p.until > clock_timestamp();
  IF FOUND THEN
    RETURN true;
  END IF;
  PERFORM FROM lanekeeper.publishing p
    WHERE p.xid IS NULL AND p.ended_at IS NULL AND p.until > clock_timestamp() AND relation = ANY (p.relations)
      AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ANY (p.roles) AND pg_has_role(session_user, r.oid, 'MEMBER'))
    ORDER BY p.id LIMIT 1 FOR KEY SHARE;
  RETURN FOUND;
END $$;

-- Arguments: the data center that publishes this table, its declared name, and whether it is a copy of others.
CREATE FUNCTION lanekeeper.refuse_unless_publishing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_ARGV[0] <> lanekeeper.dc() THEN
    PERFORM lanekeeper.refuse('LK007', format('%s is published by %s and read only in %s', TG_ARGV[1], TG_ARGV[0], lanekeeper.dc()),
      TG_ARGV[1], NULL, TG_ARGV[0], NULL, NULL, format('Publish it in %s.', TG_ARGV[0]));
  ELSIF NOT lanekeeper.may_publish(TG_ARGV[1]) THEN
    PERFORM lanekeeper.refuse('LK007', format('%s is read only outside publishing', TG_ARGV[1]), TG_ARGV[1], NULL, TG_ARGV[0], NULL, NULL,
      CASE TG_ARGV[2] WHEN 'copy' THEN format('It is a copy of other tables: `lanekeeper copies refresh %s` makes it anew.', TG_ARGV[1])
        ELSE format('As the owner, SELECT lanekeeper.publishing(%L) first in the same transaction; or `lanekeeper publish`.', TG_ARGV[1]) END);
  END IF;
  RETURN NULL;
END $$;

-- ── Copies as of a moment ────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.copy (
  relation text PRIMARY KEY,
  as_of timestamptz NOT NULL,
  due timestamptz NOT NULL,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  made_in text NOT NULL,
  rows bigint NOT NULL,
  changed bigint NOT NULL,
  complete boolean NOT NULL,
  missing jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE lanekeeper.copy IS 'Of when each copy of other tables is. Written in the transaction that makes the copy and replicated in the same stream, so that both always fit.';
COMMENT ON COLUMN lanekeeper.copy.due IS 'The latest moment of the schedule that this copy serves.';
COMMENT ON COLUMN lanekeeper.copy.missing IS 'Whose writes before that moment may be missing, and why: data center → reason.';

-- For applications. Null: not made yet, or not arrived here.
CREATE FUNCTION lanekeeper.copy_as_of(asked text) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT c.as_of FROM lanekeeper.copy c WHERE c.relation = CASE WHEN asked LIKE '%.%' THEN asked ELSE 'public.' || asked END);
END $$;

CREATE FUNCTION lanekeeper.copy_state(asked text, OUT as_of timestamptz, OUT made_at timestamptz, OUT complete boolean, OUT missing jsonb)
RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT c.as_of, c.made_at, c.complete, c.missing FROM lanekeeper.copy c
    WHERE c.relation = CASE WHEN asked LIKE '%.%' THEN asked ELSE 'public.' || asked END;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.publishable(text[]), lanekeeper.publishing(text[]), lanekeeper.begin_publishing(text[], text[], bigint, text),
  lanekeeper.renew_publishing(bigint, bigint), lanekeeper.end_publishing(bigint), lanekeeper.may_publish(text),
  lanekeeper.refuse_unless_publishing(), lanekeeper.copy_as_of(text), lanekeeper.copy_state(text) FROM PUBLIC;
