-- A table's columns as a list for COPY.

SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = ('public.' || quote_ident(:'name'))::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
