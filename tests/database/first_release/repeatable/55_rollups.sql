-- Longer candles: continuous aggregates with a real-time tail, or views where there are none.

DO $$
DECLARE
    bar record;
    kind text := server_kind();
    existing "char";
    aggregated boolean;
    body text;
BEGIN
    FOR bar IN SELECT * FROM (VALUES
        ('candles_5m', '5 minutes'), ('candles_1h', '1 hour'),
        ('candles_4h', '4 hours'), ('candles_1d', '1 day')) AS t (name, width)
    LOOP
        SELECT relkind INTO existing FROM pg_class WHERE oid = to_regclass(bar.name);
        aggregated := false;
        IF kind = 'community' THEN
            aggregated := EXISTS (SELECT FROM timescaledb_information.continuous_aggregates
                                  WHERE view_schema = current_schema() AND view_name = bar.name);
        END IF;
        CONTINUE WHEN aggregated;
        body := format('SELECT symbol, %s AS time, %s AS open, max(high) AS high, min(low) AS low, %s AS close,
                               sum(volume) AS volume, sum(quote_volume) AS quote_volume, sum(trades)::bigint AS trades,
                               sum(taker_buy_volume) AS taker_buy_volume,
                               sum(taker_buy_quote_volume) AS taker_buy_quote_volume, count(*)::integer AS minutes
                        FROM candles_1m GROUP BY symbol, 2',
            CASE WHEN kind = 'community' THEN format('time_bucket(%L::interval, time)', bar.width)
                 ELSE format('date_bin(%L::interval, time, timestamptz %L)', bar.width, '2000-01-03 00:00:00+00') END,
            CASE WHEN kind = 'community' THEN 'first(open, time)' ELSE '(array_agg(open ORDER BY time))[1]' END,
            CASE WHEN kind = 'community' THEN 'last(close, time)' ELSE '(array_agg(close ORDER BY time DESC))[1]' END);
        IF kind = 'community' THEN
            IF existing = 'v' THEN
                EXECUTE format('DROP VIEW %I', bar.name);
            END IF;
            EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (timescaledb.continuous, timescaledb.materialized_only = false)
                            AS %s WITH NO DATA', bar.name, body);
        ELSE
            EXECUTE format('CREATE OR REPLACE VIEW %I AS %s', bar.name, body);
        END IF;
    END LOOP;
END
$$;

-- A repaired range below an aggregate's watermark is not shown until it is refreshed; what lies above
-- is read from the candles anyway, and must be left to the policy: a refresh there would move the
-- watermark over minutes that were never aggregated.
CREATE OR REPLACE PROCEDURE refresh_rollups(p_from timestamptz, p_to timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    bar record;
BEGIN
    IF server_kind() <> 'community' THEN
        RETURN;
    END IF;
    FOR bar IN
        SELECT c.view_name, widths.width, _timescaledb_functions.to_timestamp(
                   _timescaledb_functions.cagg_watermark(h.id)) AS watermark
        FROM timescaledb_information.continuous_aggregates AS c
        JOIN (VALUES ('candles_5m', interval '5 minutes'), ('candles_1h', interval '1 hour'),
                     ('candles_4h', interval '4 hours'), ('candles_1d', interval '1 day')) AS widths (name, width)
          ON widths.name = c.view_name
        JOIN _timescaledb_catalog.hypertable AS h
          ON h.schema_name = c.materialization_hypertable_schema
         AND h.table_name = c.materialization_hypertable_name
    LOOP
        IF time_bucket(bar.width, p_from) < bar.watermark THEN
            CALL refresh_continuous_aggregate(
                bar.view_name::regclass, time_bucket(bar.width, p_from),
                least(time_bucket(bar.width, p_to - interval '1 microsecond') + bar.width, bar.watermark));
        END IF;
    END LOOP;
END
$$;
