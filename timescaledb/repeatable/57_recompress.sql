-- A repair leaves its rows beside the columnstore of an old chunk; this brings them in. Nothing depends
-- on it but space and speed: the columnstore's policy does the same, later.

-- Chunks of [p_from, p_to) that are partly in the columnstore, one a transaction. A chunk in which a gap is
-- still being filled waits for that gap: a month of history is compressed once, not after every piece. One
-- caller at a time; the newest chunks are never touched, so no live write waits.
CREATE OR REPLACE PROCEDURE recompress(p_from timestamptz, p_to timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    partial constant integer := 8;  -- the bit of chunk_status()
    chunk record;
BEGIN
    IF server_kind() <> 'community' THEN
        RETURN;
    END IF;
    FOR chunk IN
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS name, range_start, range_end
        FROM timescaledb_information.chunks
        WHERE hypertable_schema = current_schema() AND hypertable_name = 'candles_1m' AND is_compressed
          AND range_start < p_to AND range_end > p_from AND range_end <= now() - interval '7 days'
        ORDER BY range_start
    LOOP
        CONTINUE WHEN _timescaledb_functions.chunk_status(chunk.name) & partial = 0 OR EXISTS (
            SELECT FROM data_quality_logs
            WHERE event_type = 'gap' AND NOT resolved AND NOT detail ? 'waiting_for'
              AND gap_start < chunk.range_end AND gap_end > chunk.range_start);
        PERFORM set_config('lock_timeout', '60s', true);
        PERFORM pg_advisory_xact_lock(hashtextextended('recompress', 0));
        -- A repair's write is short; whatever holds the chunk for longer has its way.
        PERFORM set_config('lock_timeout', '5s', true);
        -- Asked again: another caller may have been here meanwhile.
        IF _timescaledb_functions.chunk_status(chunk.name) & partial <> 0 THEN
            PERFORM compress_chunk(chunk.name);
        END IF;
        COMMIT;
    END LOOP;
END
$$;
