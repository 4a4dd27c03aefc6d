-- The first word stands: what a model said once is not replaced, whoever asks.
INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, confidence, features_time)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::integer[], $5::float8[], $6::float8[],
                     $7::timestamptz[])
ON CONFLICT DO NOTHING
