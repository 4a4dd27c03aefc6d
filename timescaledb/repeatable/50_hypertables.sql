-- Where TimescaleDB is there, what grows by the minute becomes a hypertable.

-- Nobody asks what feature values are frequent, and to count them took seven eighths of the analysis of a day.
ALTER TABLE feature_values ALTER COLUMN values SET STATISTICS 0;

DO $$
DECLARE
    target record;
BEGIN
    IF server_kind() = 'plain' THEN
        RETURN;
    END IF;
    FOR target IN SELECT * FROM (VALUES
        ('candles_1m', interval '7 days'), ('book_ticker_1m', interval '7 days'),
        ('feature_values', interval '1 day'), ('predictions', interval '7 days')) AS t (name, chunk)
    LOOP
        PERFORM create_hypertable(target.name, by_range('time', target.chunk),
                                  if_not_exists => true, create_default_indexes => false, migrate_data => true);
    END LOOP;
    IF server_kind() = 'community' THEN
        -- Four weeks are one chunk once they are in the columnstore: a query that does not bound its times is planned
        -- over every chunk of 13 months, which took longer than all else in it.
        ALTER TABLE candles_1m SET (timescaledb.enable_columnstore = true,
                                    timescaledb.segmentby = 'symbol', timescaledb.orderby = 'time',
                                    timescaledb.compress_chunk_time_interval = '28 days');
        ALTER TABLE book_ticker_1m SET (timescaledb.enable_columnstore = true,
                                        timescaledb.segmentby = 'symbol', timescaledb.orderby = 'time',
                                        timescaledb.compress_chunk_time_interval = '28 days');
    END IF;
END
$$;
