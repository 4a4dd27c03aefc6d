-- What a restore of the whole would replace; nothing where there is no schema yet.

SELECT to_regclass('public.candles_1m') IS NOT NULL AND to_regclass('public.predictions') IS NOT NULL AS made
\gset
\if :made
SELECT 'candles=' || count(*) FROM candles_1m;
SELECT 'newest=' || coalesce(to_char(max(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'), '') FROM candles_1m;
SELECT 'predictions=' || count(*) FROM predictions;
\else
SELECT 'candles=0';
SELECT 'predictions=0';
\endif
