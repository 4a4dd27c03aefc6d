-- Whether minutes of [$1, $2) are still being filled, of whichever symbol: what is refreshed now would have to be
-- again. A gap that waits for the exchange is not.
SELECT EXISTS (
    SELECT FROM data_quality_logs
    WHERE event_type = 'gap' AND NOT resolved AND NOT detail ? 'waiting_for' AND gap_start < $2 AND gap_end > $1
)
