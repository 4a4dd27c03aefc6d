-- Days [$4, $5) of the model $1, the symbol $2 and the horizon $3; null: all.
SELECT model, symbol, horizon_minutes, day, scored, hit_rate, mae, rmse, brier, baseline_mae, baseline_rmse
FROM prediction_accuracy
WHERE ($1::text IS NULL OR model = $1) AND ($2::text IS NULL OR symbol = $2)
  AND ($3::integer IS NULL OR horizon_minutes = $3)
  AND ($4::date IS NULL OR day >= $4) AND ($5::date IS NULL OR day < $5)
ORDER BY day, model, symbol, horizon_minutes
