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

-- ── Singletons ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- Who runs what may run once only, in this data center or (`everywhere`) in the cluster. The session advisory lock of the runner's
-- connection says that somebody does; the number says who, and rises with every one who takes over.

CREATE TABLE lanekeeper.singleton (
  name text NOT NULL,
  everywhere boolean NOT NULL,
  number bigint NOT NULL,
  instance text NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, everywhere)
);
COMMENT ON TABLE lanekeeper.singleton IS 'Who ran a singleton last in this data center, and its number. Not replicated: in the cluster, numbers start from the epoch of the fixed home, which no two data centers share.';

CREATE FUNCTION lanekeeper.singleton_lock(of_name text, of_everywhere boolean) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT pg_catalog.hashtextextended('lanekeeper.singleton ' || of_name, of_everywhere::integer) $$;

-- Numbers below it belong to former epochs of the home, NULL: it is not here. A move or a succession leaves room for 16 million runners.
CREATE FUNCTION lanekeeper.singleton_base(of_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  p record;
  c bigint;
BEGIN
  IF coalesce(lanekeeper.lease_left_ms(), 0) < lanekeeper.lease_margin_ms() THEN
    RETURN NULL;
  END IF;
  SELECT x.home, x.term, x.accepted, d.counter INTO p FROM lanekeeper.deed d, lanekeeper.present(d) x WHERE d.account = 'fixed:' || of_name;
  IF NOT FOUND OR p.home <> lanekeeper.dc() OR NOT p.accepted
     OR EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account IN ('fixed:' || of_name, '*') AND x.until > clock_timestamp()) THEN
    RETURN NULL;
  END IF;
  RETURN (p.term << 42) + (p.counter << 24);
END $$;

-- Once a second for all singletons of a process, on the connection that holds their locks. `numbers`: NULL for those it would like to run.
-- Answers the number of each, NULL for those that it may not run, or not any more.
CREATE FUNCTION lanekeeper.tend_singletons(of_instance text, names text[], everywheres boolean[], numbers bigint[])
RETURNS TABLE (at integer, granted bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  base bigint;
BEGIN
  FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
    at := i;
    granted := NULL;
    base := CASE WHEN everywheres[i] THEN lanekeeper.singleton_base(names[i]) ELSE 0 END;
    IF numbers[i] IS NOT NULL THEN
      -- A number of an epoch before: the home went away and came back.
      SELECT s.number INTO granted FROM lanekeeper.singleton s
        WHERE s.name = names[i] AND s.everywhere = everywheres[i] AND s.number = numbers[i] AND s.number > base;
    ELSIF base IS NOT NULL AND pg_try_advisory_lock(lanekeeper.singleton_lock(names[i], everywheres[i])) THEN
      BEGIN
        -- Whoever ran before may be in a transaction that guards itself: it ends first.
        PERFORM FROM lanekeeper.singleton s WHERE s.name = names[i] AND s.everywhere = everywheres[i] FOR UPDATE NOWAIT;
        INSERT INTO lanekeeper.singleton AS s (name, everywhere, number, instance) VALUES (names[i], everywheres[i], base + 1, of_instance)
          ON CONFLICT (name, everywhere) DO UPDATE SET number = greatest(s.number, base) + 1, instance = excluded.instance, since = excluded.since
          RETURNING s.number INTO granted;
      EXCEPTION WHEN lock_not_available THEN
        granted := NULL;
      END;
      IF granted IS NULL THEN
        PERFORM pg_advisory_unlock(lanekeeper.singleton_lock(names[i], everywheres[i]));
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

CREATE FUNCTION lanekeeper.leave_singleton(of_name text, of_everywhere boolean) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_advisory_unlock(lanekeeper.singleton_lock(of_name, of_everywhere))
$$;

-- In a transaction of the runner's: it commits as the present one, or not at all. Who takes over waits for it.
CREATE FUNCTION lanekeeper.guard_singleton(of_name text, of_everywhere boolean, of_number bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  present bigint;
BEGIN
  IF of_everywhere THEN
    PERFORM lanekeeper.fence(ARRAY['fixed:' || of_name], 'lanekeeper.singleton');
  END IF;
  SELECT s.number INTO present FROM lanekeeper.singleton s WHERE s.name = of_name AND s.everywhere = of_everywhere FOR SHARE;
  IF present IS DISTINCT FROM of_number OR of_everywhere AND of_number <= coalesce(lanekeeper.singleton_base(of_name), 0) THEN
    RAISE EXCEPTION USING ERRCODE = 'LK011',
      MESSAGE = format('number %s of %s was taken over by number %s', of_number, of_name, coalesce(present::text, 'of another data center')),
      HINT = 'Stop what this singleton was doing: somebody else does it now.';
  END IF;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.singleton_lock(text, boolean), lanekeeper.singleton_base(text),
  lanekeeper.tend_singletons(text, text[], boolean[], bigint[]), lanekeeper.leave_singleton(text, boolean),
  lanekeeper.guard_singleton(text, boolean, bigint) FROM PUBLIC;

-- ── Conflicts, for applications ──────────────────────────────────────────────────────────────────────────────────────
-- Each hears of the conflicts of shared rows and may read those of tables that it may read; times as milliseconds, which no setting prints differently.

CREATE FUNCTION lanekeeper.conflict_of(number bigint) RETURNS TABLE (id bigint, at_ms float8, seen_in text, relation text, key_columns text[], key text[], policy text,
  winner_dc text, winner_application text, winner_at_ms float8, winner_columns text[], winner text[],
  loser_dc text, loser_application text, loser_at_ms float8, loser_columns text[], loser text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.id, extract(epoch FROM c.at)::float8 * 1000, c.seen_in, c.relation, c.key_columns, c.key, c.policy,
      c.winner_dc, c.winner_application, extract(epoch FROM c.winner_at)::float8 * 1000, c.winner_columns, c.winner,
      c.loser_dc, c.loser_application, extract(epoch FROM c.loser_at)::float8 * 1000, c.loser_columns, c.loser
    FROM lanekeeper.conflict c
    WHERE c.id = conflict_of.number AND has_table_privilege(session_user, to_regclass(lanekeeper.quoted(c.relation)), 'SELECT')
$$;
REVOKE ALL ON FUNCTION lanekeeper.conflict_of(bigint) FROM PUBLIC;

-- ── Sessions one at a time ───────────────────────────────────────────────────────────────────────────────────────────
-- Which session an account is used by, kept among its outcomes: so it is homed like them, replicated, and goes where the account goes.
-- `key` is the caller's, since with a single home many accounts share one deed (`owner`).

-- Holds the account for this session, unless another one was active within so many milliseconds: then says since when and where.
CREATE FUNCTION lanekeeper.hold_session(owner text, key text, used_account text, session text, former text, from_dc text, stickiness_ms bigint,
  OUT held boolean, OUT since timestamptz, OUT dc text, OUT left_ms double precision)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  kept jsonb;
  now_is timestamptz := clock_timestamp();
  active timestamptz;
BEGIN
  PERFORM lanekeeper.fence(ARRAY[owner], 'lanekeeper.outcome');
  INSERT INTO lanekeeper.outcome (account, request_id, result, dc) VALUES (owner, key, '{}', lanekeeper.dc()) ON CONFLICT DO NOTHING;
  SELECT o.result INTO kept FROM lanekeeper.outcome o WHERE o.account = owner AND o.request_id = key FOR UPDATE;
  since := (kept ->> 'since')::timestamptz;
  dc := kept ->> 'dc';
  active := greatest((kept ->> 'at')::timestamptz, CASE WHEN since IS NOT NULL THEN lanekeeper.last_used(used_account) END);
  left_ms := date_part('epoch', active - now_is) * 1000 + stickiness_ms;
  held := kept ->> 'session' IS NULL OR kept ->> 'session' IN (session, coalesce(former, '')) OR left_ms <= 0;
  IF NOT held THEN
    RETURN;
  END IF;
  -- Another data center that has to take over knows of uses that are not older than a quarter of that.
  IF kept ->> 'session' IS DISTINCT FROM session OR (kept ->> 'at')::timestamptz < now_is - stickiness_ms / 4 * interval '1 millisecond' THEN
    IF kept ->> 'session' IS DISTINCT FROM session THEN
      since := now_is;
    END IF;
    UPDATE lanekeeper.outcome o SET at = now_is, dc = lanekeeper.dc(),
        result = jsonb_build_object('session', session, 'since', hold_session.since, 'at', now_is, 'dc', from_dc)
      WHERE o.account = owner AND o.request_id = key;
  END IF;
END $$;

CREATE FUNCTION lanekeeper.release_session(owner text, key text, session text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM lanekeeper.outcome o WHERE o.account = owner AND o.request_id = key AND o.result ->> 'session' = session) THEN
    PERFORM lanekeeper.fence(ARRAY[owner], 'lanekeeper.outcome');
    UPDATE lanekeeper.outcome o SET result = '{}', at = clock_timestamp() WHERE o.account = owner AND o.request_id = key AND o.result ->> 'session' = session;
  END IF;
END $$;

REVOKE ALL ON FUNCTION lanekeeper.hold_session(text, text, text, text, text, text, bigint), lanekeeper.release_session(text, text, text) FROM PUBLIC;

-- ── Roll-outs ────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE lanekeeper.rollout (
  digest text NOT NULL,
  version text NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  healthy_since timestamptz,
  was_healthy boolean NOT NULL DEFAULT false,
  PRIMARY KEY (digest, version)
);
COMMENT ON TABLE lanekeeper.rollout IS 'Configurations and versions that agents of this data center have led with: since when, and since when without interruption in good health.';

-- Every few seconds by the leading agent. After a minute in which nobody said so, health begins anew.
CREATE FUNCTION lanekeeper.note_rollout(of_digest text, of_version text, healthy boolean) RETURNS lanekeeper.rollout
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_is timestamptz := clock_timestamp();
  noted lanekeeper.rollout;
  back boolean := (SELECT r.digest <> of_digest OR r.version <> of_version FROM lanekeeper.rollout r ORDER BY r.seen_at DESC LIMIT 1);
BEGIN
  INSERT INTO lanekeeper.rollout AS r (digest, version, since, seen_at, healthy_since, was_healthy)
    VALUES (of_digest, of_version, now_is, now_is, CASE WHEN healthy THEN now_is END, healthy)
    ON CONFLICT (digest, version) DO UPDATE SET seen_at = now_is,
      since = CASE WHEN back THEN now_is ELSE r.since END,
      healthy_since = CASE WHEN NOT healthy THEN NULL WHEN back OR r.seen_at < now_is - interval '1 minute' THEN now_is
        ELSE coalesce(r.healthy_since, now_is) END,
      was_healthy = r.was_healthy OR healthy
    RETURNING * INTO noted;
  RETURN noted;
END $$;
REVOKE ALL ON FUNCTION lanekeeper.note_rollout(text, text, boolean) FROM PUBLIC;
