-- How whole each symbol's history is, from the ledger alone: the audits put every missing minute there
-- within the hour, so no candle is counted. Only what is partly filled is looked at by the minute.

-- What a row of the ledger still lacks. A gap in somebody's hands, or one that was given back half done,
-- is counted by its holes; the others are taken whole.
CREATE OR REPLACE FUNCTION lacking(p_row data_quality_logs) RETURNS tstzmultirange LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_row.lease_until > now() OR p_row.candles_recovered > 0
        THEN missing_ranges(p_row.symbol, p_row.gap_start, p_row.gap_end)
        ELSE tstzmultirange(tstzrange(p_row.gap_start, p_row.gap_end)) END
$$;

CREATE OR REPLACE FUNCTION minutes_in(p_ranges tstzmultirange) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum(minutes_of(range)), 0)::bigint FROM unnest(p_ranges) AS range
$$;

CREATE OR REPLACE VIEW history_completeness AS
WITH entries AS MATERIALIZED (
    SELECT l.symbol,
           range_agg(CASE WHEN l.resolved THEN '{}' ELSE lacking(l) END) AS missing,
           range_agg(tstzrange(l.gap_start, l.gap_end)) FILTER (WHERE l.resolved) AS confirmed
    FROM data_quality_logs AS l
    WHERE l.event_type = 'outage' OR l.event_type = 'gap' AND NOT l.resolved
    GROUP BY l.symbol
), outages AS (
    -- A row beats an outage: one that was looked at again since is counted by its holes. By a gap's end, not
    -- its beginning: an older gap may have been made longer over the outage.
    SELECT e.symbol, e.missing, coalesce(e.confirmed, '{}') - coalesce((
               SELECT range_agg(tstzrange(o.gap_start, o.gap_end)) - range_agg(missing_ranges(o.symbol, o.gap_start, o.gap_end))
               FROM data_quality_logs AS o
               WHERE o.event_type = 'outage' AND o.resolved AND o.symbol = e.symbol
                 AND EXISTS (SELECT FROM data_quality_logs AS g
                             WHERE g.symbol = o.symbol AND g.event_type = 'gap'
                               AND (NOT g.resolved OR g.resolved_at > o.resolved_at)
                               AND g.gap_start < o.gap_end AND g.gap_end > o.gap_start)), '{}') AS confirmed
    FROM entries AS e
), counted AS (
    SELECT s.symbol, minutes_in(tstzmultirange(s.span)) AS expected,
           minutes_in(s.span::tstzmultirange * coalesce(o.missing, '{}')) AS missing,
           minutes_in(s.span::tstzmultirange * (coalesce(o.confirmed, '{}') - coalesce(o.missing, '{}'))) AS outage
    FROM (SELECT symbol, expected_range(symbol) AS span FROM symbols) AS s LEFT JOIN outages AS o USING (symbol)
)
SELECT symbol, expected AS expected_minutes, expected - missing - outage AS present_minutes,
       missing AS missing_minutes, outage AS outage_minutes,
       (expected - missing)::double precision / nullif(expected, 0) AS completeness
FROM counted;
COMMENT ON VIEW history_completeness IS 'One row a symbol: its expected minutes and what became of them, by the ledger.';
COMMENT ON COLUMN history_completeness.present_minutes IS 'Expected minutes that are neither missing nor in an outage.';
COMMENT ON COLUMN history_completeness.missing_minutes IS 'Minutes of open gaps and of outages not confirmed yet. A hole is known within the hour.';
COMMENT ON COLUMN history_completeness.outage_minutes IS 'Minutes of confirmed outages: no source has them.';
COMMENT ON COLUMN history_completeness.completeness IS 'Share of the expected minutes that are accounted for, 0 to 1; null where none is expected.';
