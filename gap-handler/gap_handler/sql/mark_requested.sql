-- $1 gaps opened by one request, of which $2 is the job; $3 its range as JSON.
UPDATE data_quality_logs
SET detail = detail || CASE WHEN id = $2 THEN jsonb_build_object('requested', $3::text::jsonb)
                            ELSE jsonb_build_object('parent', $2::bigint) END
WHERE id = ANY ($1::bigint[])
