-- Candles of $1 at $2 that the exchange's own record does not have (any more): kept, and noted once each.
WITH noted AS (
    INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, resolved, resolved_at, detail)
    SELECT 'revision', c.symbol, c.time, c.time + interval '1 minute', true, now(),
           jsonb_build_object('old', to_jsonb(c) - 'symbol' - 'time' - 'known_at', 'rest', NULL)
    FROM candles_1m AS c
    WHERE c.symbol = $1 AND c.time = ANY ($2::timestamptz[])
      AND NOT EXISTS (SELECT FROM data_quality_logs AS l
                      WHERE l.symbol = c.symbol AND l.gap_start = c.time AND l.event_type = 'revision'
                        AND l.detail @> '{"rest": null}')
    ORDER BY c.time
    RETURNING 1
)
SELECT count(*) FROM noted
