-- The lease store as version 1 made it, with one lease that has run out.

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
        'state', CASE WHEN l.released THEN 'released' WHEN l.until > clock_timestamp() THEN 'held' ELSE 'expired' END
      ) ORDER BY l.dc) FROM lanekeeper_lease.lease l WHERE l.cluster = asked_cluster), '[]'))
$$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.take(
  asked_cluster text, claim jsonb, expected_revision bigint, predecessor_holder text, predecessor_revision bigint
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  l lanekeeper_lease.lease;
  refusal text;
  next_revision bigint;
  until_at timestamptz;
BEGIN
  -- The row that everybody then locks. Its first holder is whoever comes first; it starts as released.
  INSERT INTO lanekeeper_lease.lease (cluster, dc, system_identifier, timeline, generation, positions, holder, revision, granted_at, until, released)
    SELECT asked_cluster, claim->>'dataCenter', claim->'incarnation'->>'systemIdentifier', (claim->'incarnation'->>'timeline')::integer,
           (claim->'incarnation'->>'generation')::integer, claim->'positions',
           claim->>'holder', 0, clock_timestamp(), clock_timestamp(), true
     WHERE expected_revision IS NULL
    ON CONFLICT DO NOTHING;
  INSERT INTO lanekeeper_lease.view (cluster, term) SELECT asked_cluster, 1
    WHERE NOT EXISTS (SELECT FROM lanekeeper_lease.view v WHERE v.cluster = asked_cluster) ON CONFLICT DO NOTHING;

  SELECT * INTO l FROM lanekeeper_lease.lease WHERE cluster = asked_cluster AND dc = claim->>'dataCenter' FOR UPDATE;
  IF NOT FOUND THEN
    refusal := 'stale-revision';
  ELSIF (l.system_identifier, l.timeline, l.generation) IS DISTINCT FROM (claim->'incarnation'->>'systemIdentifier',
        (claim->'incarnation'->>'timeline')::integer, (claim->'incarnation'->>'generation')::integer) THEN
    refusal := 'other-incarnation';
  ELSIF expected_revision IS NOT NULL THEN
    IF l.revision <> expected_revision OR l.holder <> claim->>'holder' OR l.released OR l.until <= clock_timestamp() THEN
      refusal := 'stale-revision';
    END IF;
  ELSIF NOT (l.released OR l.until <= clock_timestamp() OR l.holder = claim->>'holder'
             OR coalesce(l.holder = predecessor_holder AND l.revision = predecessor_revision, false)) THEN
    refusal := 'held-by-other';
  END IF;

  IF refusal IS NOT NULL THEN
    RETURN jsonb_build_object('kind', 'refused', 'reason', refusal, 'view', lanekeeper_lease.read(asked_cluster));
  END IF;
  next_revision := l.revision + 1;
  until_at := clock_timestamp() + make_interval(secs => (claim->>'ttlMs')::double precision / 1000);
  UPDATE lanekeeper_lease.lease SET holder = claim->>'holder', revision = next_revision, positions = claim->'positions',
    granted_at = clock_timestamp(), until = until_at, released = false
    WHERE cluster = asked_cluster AND dc = claim->>'dataCenter';
  RETURN jsonb_build_object('kind', 'held', 'revision', next_revision, 'view', lanekeeper_lease.read(asked_cluster));
END $$;

CREATE OR REPLACE FUNCTION lanekeeper_lease.release(asked_cluster text, asked_dc text, asked_holder text, asked_revision bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE lanekeeper_lease.lease SET released = true, revision = revision + 1
    WHERE cluster = asked_cluster AND dc = asked_dc AND holder = asked_holder AND revision = asked_revision AND NOT released;
  RETURN 'true';
END $$;

INSERT INTO lanekeeper_lease.about (version) VALUES (1) ON CONFLICT (one) DO UPDATE SET version = excluded.version;

INSERT INTO lanekeeper_lease.view (cluster, term) VALUES ('shop', 1);
INSERT INTO lanekeeper_lease.lease (cluster, dc, system_identifier, timeline, generation, positions, holder, revision, granted_at, until)
  VALUES ('shop', 'ny', '7', 1, 1, '{"log": "0/1", "received": {}, "applied": {}}', 'ny-1', 7,
          '2026-01-02 03:04:05Z', '2026-01-02 03:04:11Z');
