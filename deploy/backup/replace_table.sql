-- The backup's rows take the place of the table's, in one transaction.

BEGIN;
SELECT format('TRUNCATE public.%I', :'name')
\gexec
SELECT format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM public.%I',
              :'name', :'columns', :'columns', :'name' || '_restored')
\gexec
SELECT :'name' = 'candles_1m' AS candles
\gset
\if :candles
-- Corrections made since the backup are gone: the days are audited again, and all feature rows computed again.
UPDATE symbols SET audited_until = least(audited_until, (SELECT max(time) FROM candles_1m) - interval '48 hours');
INSERT INTO stale_features (symbol, from_time, to_time)
SELECT symbol, floor_minute(market_now() - interval '1 month'), floor_minute(market_now()) + interval '1 minute'
FROM symbols WHERE market_now() IS NOT NULL;
\endif
-- Numbers go on after the greatest that was restored.
SELECT format('SELECT setval(%L, greatest((SELECT max(%I) FROM public.%I), nextval(%L)))',
              sequence, attname, :'name', sequence)
FROM pg_attribute, LATERAL (SELECT pg_get_serial_sequence('public.' || quote_ident(:'name'), attname) AS sequence) AS own
WHERE attrelid = ('public.' || quote_ident(:'name'))::regclass AND attnum > 0 AND attidentity <> '' AND sequence IS NOT NULL
\gexec
SELECT format('DROP TABLE public.%I', :'name' || '_restored')
\gexec
COMMIT;
