-- The backup's rows take the place of the table's, in one transaction.

BEGIN;
SELECT format('TRUNCATE public.%I', :'name')
\gexec
SELECT format('INSERT INTO public.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM public.%I',
              :'name', :'columns', :'columns', :'name' || '_restored')
\gexec
-- Numbers go on after the greatest that was restored.
SELECT format('SELECT setval(%L, greatest((SELECT max(%I) FROM public.%I), nextval(%L)))',
              sequence, attname, :'name', sequence)
FROM pg_attribute, LATERAL (SELECT pg_get_serial_sequence('public.' || quote_ident(:'name'), attname) AS sequence) AS own
WHERE attrelid = ('public.' || quote_ident(:'name'))::regclass AND attnum > 0 AND attidentity <> '' AND sequence IS NOT NULL
\gexec
SELECT format('DROP TABLE public.%I', :'name' || '_restored')
\gexec
COMMIT;
