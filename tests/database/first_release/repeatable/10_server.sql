-- What this server offers, and what time the market has.

-- 'community': hypertables, columnstore, policies, jobs, continuous aggregates.
-- 'apache': hypertables alone. 'plain': PostgreSQL without TimescaleDB.
CREATE OR REPLACE FUNCTION server_kind() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN 'plain'
        WHEN current_setting('timescaledb.license', true) = 'timescale' THEN 'community'
        ELSE 'apache'
    END
$$;

-- The greatest exchange time seen, never extrapolated; null before the exchange was first heard.
CREATE OR REPLACE FUNCTION market_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT time FROM market_clock
$$;

CREATE OR REPLACE FUNCTION advance_market_clock(p_time timestamptz) RETURNS void LANGUAGE sql AS $$
    -- Asked first: ON CONFLICT would lock the row even where it changes nothing.
    INSERT INTO market_clock (time)
    SELECT p_time WHERE p_time > coalesce((SELECT time FROM market_clock), '-infinity')
    ON CONFLICT (single) DO UPDATE SET time = EXCLUDED.time WHERE market_clock.time < EXCLUDED.time
$$;

CREATE OR REPLACE FUNCTION floor_minute(p_time timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_bin('1 minute', p_time, timestamptz '2000-01-01 00:00:00+00')
$$;
