/**
 * What the witness keeps, in a schema of its own: one row per data center and cluster, and the history of views. The
 * functions are the only way in; each sees what the ones before it committed, so that a refusal tells the truth.
 */

/**
 * Rises with every change of `schemaSql`, which also brings an older one up to it. A store never replaces a newer one.
 * Functions go on taking what agents of the version before ask, since agents are replaced one by one.
 */
export const schemaVersion = 5;

/** One transaction; two at once wait for each other here. */
export const installLockSql = `SELECT pg_advisory_xact_lock(hashtext('lanekeeper_lease'))`;

export const schemaSql = `
CREATE SCHEMA IF NOT EXISTS lanekeeper_lease;

CREATE TABLE IF NOT EXISTS lanekeeper_lease.about (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version integer NOT NULL
);

CREATE TABLE IF NOT EXISTS lanekeeper_lease.view (
  cluster text NOT NULL,
  term bigint NOT NULL CHECK (term >= 1),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (cluster, term)
);

CREATE TABLE IF NOT EXISTS lanekeeper_lease.lease (
  cluster text NOT NULL,
  dc text NOT NULL,
  system_identifier text NOT NULL,
  timeline integer NOT NULL,
  generation integer NOT NULL,
  positions jsonb NOT NULL,
  holder text NOT NULL,
  revision bigint NOT NULL,
  granted_at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  released boolean NOT NULL DEFAULT false,
  PRIMARY KEY (cluster, dc)
);

-- Version 2: the history says what each view changed; the first one changed nothing.
ALTER TABLE lanekeeper_lease.view
  ADD COLUMN IF NOT EXISTS kind text CHECK (kind IN ('take', 'switch', 'return')),
  ADD COLUMN IF NOT EXISTS from_dc text,
  ADD COLUMN IF NOT EXISTS to_dc text,
  ADD COLUMN IF NOT EXISTS undoes bigint;
ALTER TABLE lanekeeper_lease.view
  DROP CONSTRAINT IF EXISTS view_whole,
  ADD CONSTRAINT view_whole CHECK (CASE WHEN term = 1 THEN num_nulls(kind, from_dc, to_dc, undoes) = 4
    ELSE num_nulls(kind, from_dc, to_dc) = 0 AND from_dc <> to_dc AND (undoes IS NOT NULL) = (kind = 'return') END);
ALTER TABLE lanekeeper_lease.lease
  ADD COLUMN IF NOT EXISTS yielded boolean NOT NULL DEFAULT false,
  ADD COLUMN IF NOT EXISTS ttl_ms bigint,
  ADD COLUMN IF NOT EXISTS in_sync jsonb NOT NULL DEFAULT '[]',
  ADD COLUMN IF NOT EXISTS taken_over bigint;
-- Version 4: one that left stays here with its generation, so that it only comes back as a later one.
ALTER TABLE lanekeeper_lease.lease ADD COLUMN IF NOT EXISTS departed boolean NOT NULL DEFAULT false;
UPDATE lanekeeper_lease.lease SET ttl_ms = round(extract(epoch FROM until - granted_at) * 1000) WHERE ttl_ms IS NULL;
ALTER TABLE lanekeeper_lease.lease ALTER COLUMN ttl_ms SET NOT NULL;

CREATE OR REPLACE FUNCTION lanekeeper_lease.state(l lanekeeper_lease.lease) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  -- What was taken over stays lost, also when this machine's clock is set back.
  SELECT CASE WHEN l.released AND l.yielded THEN 'yielded' WHEN l.released THEN 'released'
              WHEN l.until > clock_timestamp() AND l.taken_over IS NULL THEN 'held' ELSE 'expired' END
$$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.read(asked_cluster text) RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object(
    'term', coalesce((SELECT max(v.term) FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster), 1),
    'leases', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'dataCenter', l.dc,
        'incarnation', jsonb_build_object('systemIdentifier', l.system_identifier, 'timeline', l.timeline, 'generation', l.generation),
        'positions', l.positions,
        'holder', l.holder,
        'revision', l.revision,
        'state', lanekeeper_lease.state(l),
        'ttlMs', l.ttl_ms,
        'inSync', l.in_sync,
        'takenOver', l.taken_over
      ) ORDER BY l.dc) FROM lanekeeper_lease.lease l WHERE l.cluster = asked_cluster AND NOT l.departed), '[]'),
    'departed', coalesce((SELECT jsonb_object_agg(l.dc, l.generation) FROM lanekeeper_lease.lease l
      WHERE l.cluster = asked_cluster AND l.departed), '{}'),
    'successions', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'term', v.term, 'kind', v.kind, 'from', v.from_dc, 'to', v.to_dc, 'undoes', v.undoes
      ) ORDER BY v.term) FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster AND v.term > 1), '[]'))
$$;

-- Version 3: a standby of the recorded database that was promoted, and lacks nothing that is known of. See judgeStanding.
CREATE OR REPLACE FUNCTION lanekeeper_lease.is_promoted(l lanekeeper_lease.lease, claim jsonb) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.system_identifier = claim->'incarnation'->>'systemIdentifier' AND l.generation = (claim->'incarnation'->>'generation')::integer
    AND l.timeline < (claim->'incarnation'->>'timeline')::integer
    AND EXISTS (SELECT FROM jsonb_to_recordset(coalesce(claim->'incarnation'->'ended', '[]')) AS e(timeline integer, at pg_lsn)
      WHERE e.timeline = l.timeline AND e.at >= (l.positions->>'log')::pg_lsn
        AND NOT EXISTS (SELECT FROM lanekeeper_lease.lease p WHERE p.cluster = l.cluster AND p.dc <> l.dc
          AND coalesce(p.positions->'homed'->>l.dc, p.positions->'applied'->>l.dc, p.positions->'received'->>l.dc)::pg_lsn > e.at))
    AND NOT EXISTS (SELECT FROM unnest(ARRAY['applied', 'homed']) stream, jsonb_each_text(coalesce(l.positions->stream, '{}')) known
      WHERE known.value::pg_lsn > coalesce((claim->'positions'->stream->>known.key)::pg_lsn, '0/0'))
$$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.take(
  asked_cluster text, claim jsonb, expected_revision bigint, predecessor_holder text, predecessor_revision bigint
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  l lanekeeper_lease.lease;
  promoted boolean;
  refusal text;
  next_revision bigint;
  until_at timestamptz;
BEGIN
  -- The row that everybody then locks. Its first holder is whoever comes first; it starts as released.
  INSERT INTO lanekeeper_lease.lease (cluster, dc, system_identifier, timeline, generation, positions, holder, revision, granted_at, until, released, ttl_ms)
    SELECT asked_cluster, claim->>'dataCenter', claim->'incarnation'->>'systemIdentifier', (claim->'incarnation'->>'timeline')::integer,
           (claim->'incarnation'->>'generation')::integer, claim->'positions',
           claim->>'holder', 0, clock_timestamp(), clock_timestamp(), true, (claim->>'ttlMs')::bigint
     WHERE expected_revision IS NULL
    ON CONFLICT DO NOTHING;
  INSERT INTO lanekeeper_lease.view (cluster, term) SELECT asked_cluster, 1
    WHERE NOT EXISTS (SELECT FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster) ON CONFLICT DO NOTHING;

  SELECT * INTO l FROM lanekeeper_lease.lease WHERE cluster = asked_cluster AND dc = claim->>'dataCenter' FOR UPDATE;
  IF l.departed AND expected_revision IS NULL AND l.generation < (claim->'incarnation'->>'generation')::integer THEN
    UPDATE lanekeeper_lease.lease SET departed = false, taken_over = NULL, released = true, yielded = false, in_sync = '[]',
      system_identifier = claim->'incarnation'->>'systemIdentifier', timeline = (claim->'incarnation'->>'timeline')::integer,
      generation = (claim->'incarnation'->>'generation')::integer
      WHERE cluster = asked_cluster AND dc = l.dc RETURNING * INTO l;
  END IF;
  promoted := expected_revision IS NULL AND coalesce(lanekeeper_lease.is_promoted(l, claim), false);
  IF l.dc IS NULL THEN
    refusal := 'stale-revision';
  ELSIF l.departed THEN
    refusal := 'other-incarnation';
  ELSIF l.taken_over IS NOT NULL THEN
    refusal := 'taken-over';
  ELSIF NOT promoted AND (l.system_identifier, l.timeline, l.generation) IS DISTINCT FROM (claim->'incarnation'->>'systemIdentifier',
        (claim->'incarnation'->>'timeline')::integer, (claim->'incarnation'->>'generation')::integer) THEN
    refusal := 'other-incarnation';
  ELSIF expected_revision IS NOT NULL THEN
    IF l.revision <> expected_revision OR l.holder <> claim->>'holder' OR l.released OR l.until <= clock_timestamp() THEN
      refusal := 'stale-revision';
    END IF;
  -- The primary before may still go by it, whatever its standby has read of that.
  ELSIF NOT (l.released OR l.until <= clock_timestamp() OR NOT promoted AND (l.holder = claim->>'holder'
             OR coalesce(l.holder = predecessor_holder AND l.revision = predecessor_revision, false))) THEN
    refusal := 'held-by-other';
  END IF;

  IF refusal IS NOT NULL THEN
    RETURN jsonb_build_object('kind', 'refused', 'reason', refusal, 'view', lanekeeper_lease.read(asked_cluster));
  END IF;
  next_revision := l.revision + 1;
  until_at := clock_timestamp() + make_interval(secs => (claim->>'ttlMs')::double precision / 1000);
  UPDATE lanekeeper_lease.lease SET holder = claim->>'holder', revision = next_revision, positions = claim->'positions',
    timeline = (claim->'incarnation'->>'timeline')::integer,
    granted_at = clock_timestamp(), until = until_at, released = false, yielded = false,
    ttl_ms = (claim->>'ttlMs')::bigint, in_sync = coalesce(claim->'inSync', '[]')
    WHERE cluster = asked_cluster AND dc = claim->>'dataCenter';
  RETURN jsonb_build_object('kind', 'held', 'revision', next_revision, 'view', lanekeeper_lease.read(asked_cluster));
END $$;

DROP FUNCTION IF EXISTS lanekeeper_lease.release(text, text, text, bigint);
CREATE OR REPLACE FUNCTION lanekeeper_lease.release(
  asked_cluster text, asked_dc text, asked_holder text, asked_revision bigint, yields boolean DEFAULT false
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE lanekeeper_lease.lease SET released = true, yielded = yields, revision = revision + 1
    WHERE cluster = asked_cluster AND dc = asked_dc AND holder = asked_holder AND revision = asked_revision AND NOT released;
  RETURN 'true';
END $$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.succeed(asked_cluster text, request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  asks_to_take boolean := request->>'kind' = 'take';
  next_term bigint := (request->>'term')::bigint + 1;
  giver lanekeeper_lease.lease;
  taker lanekeeper_lease.lease;
  asker lanekeeper_lease.lease;
  refusal text;
BEGIN
  -- In one order, so that two who ask do not wait for each other. Whoever is readmitted in this term is seen, or sees that it is over.
  PERFORM FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster AND v.term = (request->>'term')::bigint FOR UPDATE;
  PERFORM FROM lanekeeper_lease.lease WHERE cluster = asked_cluster AND dc IN (request->>'from', request->>'to') ORDER BY dc FOR UPDATE;
  SELECT * INTO giver FROM lanekeeper_lease.lease WHERE cluster = asked_cluster AND dc = request->>'from';
  SELECT * INTO taker FROM lanekeeper_lease.lease WHERE cluster = asked_cluster AND dc = request->>'to';
  IF asks_to_take THEN asker := taker; ELSE asker := giver; END IF;

  IF (request->>'term')::bigint IS DISTINCT FROM
     (SELECT coalesce(max(v.term), 1) FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster) THEN
    refusal := 'stale-term';
  ELSIF giver.taken_over IS NOT NULL OR (NOT asks_to_take AND taker.taken_over IS NOT NULL) OR giver.departed OR taker.departed THEN
    refusal := 'taken-over';
  ELSIF asker.dc IS NULL OR asker.taken_over IS NOT NULL OR asker.holder IS DISTINCT FROM request->>'holder'
        OR asker.revision IS DISTINCT FROM (request->>'revision')::bigint OR lanekeeper_lease.state(asker) <> 'held' THEN
    refusal := 'no-lease';
  ELSIF asks_to_take THEN
    IF giver.dc IS NULL THEN
      refusal := 'not-in-sync';
    ELSIF lanekeeper_lease.state(giver) = 'held' OR giver.revision IS DISTINCT FROM (request->>'fromRevision')::bigint THEN
      refusal := 'still-held';
    ELSIF NOT (giver.in_sync ? (request->>'to') OR (request->>'forced')::boolean) THEN
      refusal := 'not-in-sync';
    END IF;
  ELSIF request->>'kind' = 'return' AND NOT EXISTS (SELECT FROM lanekeeper_lease.view v
          WHERE v.cluster = asked_cluster AND v.term = (request->>'undoes')::bigint AND v.kind IN ('take', 'switch')) THEN
    RAISE EXCEPTION 'There is no succession % that could be undone', request->>'undoes' USING ERRCODE = 'check_violation';
  END IF;

  IF refusal IS NULL THEN
    -- Waits for whoever writes the same view with other leases.
    INSERT INTO lanekeeper_lease.view (cluster, term, kind, from_dc, to_dc, undoes)
      VALUES (asked_cluster, next_term, request->>'kind', request->>'from', request->>'to', (request->>'undoes')::bigint)
      ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN refusal := 'stale-term'; END IF;
  END IF;
  IF refusal IS NOT NULL THEN
    RETURN jsonb_build_object('kind', 'refused', 'reason', refusal, 'view', lanekeeper_lease.read(asked_cluster));
  END IF;
  IF asks_to_take THEN
    UPDATE lanekeeper_lease.lease SET taken_over = next_term WHERE cluster = asked_cluster AND dc = request->>'from';
  END IF;
  RETURN jsonb_build_object('kind', 'succeeded', 'term', next_term, 'view', lanekeeper_lease.read(asked_cluster));
END $$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.readmit(asked_cluster text, readmission jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  incarnation jsonb := readmission->'incarnation';
BEGIN
  PERFORM FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster AND v.term = (readmission->>'term')::bigint FOR UPDATE;
  IF readmission->>'term' IS NOT NULL AND (readmission->>'term')::bigint IS DISTINCT FROM
     (SELECT coalesce(max(v.term), 1) FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster) THEN
    RETURN 'false';
  END IF;
  UPDATE lanekeeper_lease.lease SET taken_over = NULL, released = true, yielded = false, revision = revision + 1, in_sync = '[]',
    system_identifier = incarnation->>'systemIdentifier', timeline = (incarnation->>'timeline')::integer,
    generation = (incarnation->>'generation')::integer, positions = readmission->'positions'
    WHERE cluster = asked_cluster AND dc = readmission->>'dataCenter' AND NOT departed AND taken_over = (readmission->>'takenOver')::bigint
      AND generation < (incarnation->>'generation')::integer
      AND NOT (system_identifier = incarnation->>'systemIdentifier' AND timeline > (incarnation->>'timeline')::integer);
  RETURN to_jsonb(FOUND);
END $$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.forget(asked_cluster text, asked_dc text, asked_revision bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE lanekeeper_lease.lease l SET departed = true, taken_over = NULL, released = true, yielded = false, revision = revision + 1, in_sync = '[]'
    WHERE cluster = asked_cluster AND dc = asked_dc AND NOT departed AND revision = asked_revision AND lanekeeper_lease.state(l) <> 'held';
  RETURN to_jsonb(FOUND);
END $$;

INSERT INTO lanekeeper_lease.about (version) VALUES (${schemaVersion}) ON CONFLICT (one) DO UPDATE SET version = excluded.version;
`;
