-- An ordinary table beside the one in use, with its columns, defaults and checks.

SELECT format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', :'name' || '_restored', :'name')
\gexec
