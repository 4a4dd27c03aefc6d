-- One row a symbol for people who wait for a history: how whole it is, what is done about it, how fast.
-- The rate is that of the pieces closed in the last ten minutes and of those under way.
WITH work AS (
    SELECT symbol,
           count(*) FILTER (WHERE NOT resolved) AS open_gaps,
           count(*) FILTER (WHERE NOT resolved AND lease_until > now() AND NOT detail ? 'waiting_for') AS fetching,
           sum(candles_recovered) FILTER (WHERE resolved OR lease_until > now()) AS recovered,
           greatest(min(created_at) FILTER (WHERE candles_recovered > 0), now() - interval '10 minutes') AS since
    FROM data_quality_logs
    WHERE event_type = 'gap' AND (NOT resolved OR resolved_at > now() - interval '10 minutes')
    GROUP BY symbol
)
SELECT h.symbol, h.expected_minutes, h.present_minutes, h.missing_minutes, h.outage_minutes, h.completeness,
       coalesce(w.open_gaps, 0) AS open_gaps, coalesce(w.fetching, 0) AS fetching,
       (w.recovered / nullif(extract(epoch FROM now() - w.since), 0))::double precision AS per_second,
       newest.time AS newest_candle, s.audited_until, market_now() AS now
FROM history_completeness AS h
JOIN symbols AS s USING (symbol)
LEFT JOIN work AS w USING (symbol)
LEFT JOIN LATERAL (SELECT time FROM candles_1m AS c WHERE c.symbol = h.symbol ORDER BY time DESC LIMIT 1) AS newest ON true
ORDER BY h.symbol
