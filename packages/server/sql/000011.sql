-- Singletons, caches, sessions one at a time, roll-outs, hooks.

-- ── Hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────
-- What is to be told to a URL, until it has been heard or nobody will listen any more. Of this data center only.

CREATE TABLE lanekeeper.hook (
  kind text NOT NULL,
  key text NOT NULL,
  -- As it is sent each time: text, not jsonb, which would print it differently.
  body json NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempts integer NOT NULL DEFAULT 0,
  -- NULL: settled.
  next_at timestamptz DEFAULT clock_timestamp(),
  heard_at timestamptz,
  PRIMARY KEY (kind, key)
);
CREATE INDEX hook_next ON lanekeeper.hook (kind, next_at) WHERE next_at IS NOT NULL;

-- Whether it was put into the queue: what was told before is not told again, and a queue that nobody empties does not grow for ever.
CREATE FUNCTION lanekeeper.tell_hook(of_kind text, of_key text, message json, waiting_max integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT count(*) FROM (SELECT FROM lanekeeper.hook WHERE kind = of_kind AND next_at IS NOT NULL LIMIT waiting_max) w) >= waiting_max THEN
    RETURN false;
  END IF;
  INSERT INTO lanekeeper.hook (kind, key, body) VALUES (of_kind, of_key, message) ON CONFLICT DO NOTHING;
  RETURN found;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.tell_hook(text, text, json, integer) FROM PUBLIC;
