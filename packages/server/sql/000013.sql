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

-- Written by the `apply` that has changed it, when all that belongs to it is done. Arriving elsewhere, in the stream, it says so, and that
-- everything written before has arrived. No row: it is as it was from the start.
CREATE TABLE lanekeeper.homed_as (
  dc text PRIMARY KEY,
  homes text NOT NULL CHECK (homes IN ('single', 'per-account')),
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lanekeeper.homed_as IS 'Data centers that have changed between one home for all accounts and one for each: what they go by now.';

-- Between the changes of two data centers one of them goes by accounts, and the other by the one home of all. The former may write while
-- that home is here; where a takeover or a switchover has moved it meanwhile, accounts born here would have two.
CREATE FUNCTION lanekeeper.homes_problem() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  other text;
  home text;
BEGIN
  IF lanekeeper.homes() = 'single' THEN
    RETURN NULL;
  END IF;
  SELECT dc INTO other FROM lanekeeper.homed_as WHERE dc <> lanekeeper.dc() AND homes = 'single' ORDER BY 1 LIMIT 1;
  IF other IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT lanekeeper.resolve(d.home, d.term) INTO home FROM lanekeeper.deed d WHERE d.account = '*';
  IF home IS NULL OR home = lanekeeper.dc() THEN
    RETURN NULL;
  END IF;
  RETURN format('%s goes by one home for all accounts, which is %s: apply that configuration here as well', other, home);
END $$;
