-- Homes: one for all accounts, or one for each. What the other data centers go by, and what an application is told.

-- What this data center was last configured as. Replaced by the generated constant.
CREATE FUNCTION lanekeeper.homes() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 'per-account'::text $$;

-- With one home for all there is one deed, and it is everybody's: an application may ask where any account is. Deeds of accounts
-- that are left from other days say nothing then.
CREATE OR REPLACE FUNCTION lanekeeper.where_is(asked text, OUT home text, OUT term bigint, OUT counter bigint, OUT accepted boolean, OUT draining boolean)
RETURNS SETOF record LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  owner text := CASE WHEN lanekeeper.homes() = 'single' AND asked NOT LIKE 'fixed:%' THEN '*' ELSE asked END;
BEGIN
  RETURN QUERY SELECT p.home, p.term, d.counter, p.accepted,
    EXISTS (SELECT FROM lanekeeper.drain x WHERE x.account IN (d.account, '*') AND x.until > clock_timestamp())
    FROM lanekeeper.deed d, lanekeeper.present(d) p WHERE d.account = owner;
END $$;
