-- What \d+ says of the SQL contract's relations that their own files do not describe.

COMMENT ON TABLE symbols IS 'Instruments: their status, first kline and delisting. expected_range() says which minutes are expected.';
COMMENT ON COLUMN symbols.symbol IS 'The instrument''s name on Binance spot; another venue''s carries its venue in front.';
COMMENT ON COLUMN candles_1m.symbol IS 'symbols.symbol.';
COMMENT ON COLUMN candles_1m.source IS 'stream, rest or archive; rest and archive beat the stream.';
COMMENT ON COLUMN candles_1m.volume IS 'Base asset; quote_volume: quote asset. The taker''s parts bought.';
COMMENT ON VIEW candles_5m IS '5-minute bars of candles_1m; minutes: how many rows are in each.';
COMMENT ON VIEW candles_1h IS '1-hour bars of candles_1m; minutes: how many rows are in each.';
COMMENT ON VIEW candles_4h IS '4-hour bars of candles_1m; minutes: how many rows are in each.';
COMMENT ON VIEW candles_1d IS '1-day bars (UTC) of candles_1m; minutes: how many rows are in each.';
COMMENT ON COLUMN feature_cache.features_json IS
    'The names of the feature set the row is of, each with a number or null: never NaN or Infinity.';
COMMENT ON TABLE feature_values IS 'Feature rows as stored, kept one month. Read them through feature_cache or feature_matrix.';
COMMENT ON TABLE predictions IS 'What models say of a price to come; actual and error are filled nightly. Kept three months.';
COMMENT ON COLUMN predictions.symbol IS 'symbols.symbol.';
COMMENT ON COLUMN predictions.actual IS
    'Close of the last candle that closed at or before time + horizon_minutes, filled nightly once it is there.';
COMMENT ON COLUMN prediction_accuracy.scored IS 'Predictions whose actual is known and that were written before their target.';
COMMENT ON COLUMN prediction_accuracy.hit_rate IS
    'Share whose direction (up, down, none) from the last close before the decision was right.';
COMMENT ON COLUMN prediction_accuracy.mae IS 'Mean of abs(error); rmse: the square root of the mean of its square.';
COMMENT ON COLUMN prediction_accuracy.baseline_mae IS
    'The same for persistence: the price stays the last close before the decision. Skill: 1 - mae / baseline_mae.';
COMMENT ON COLUMN data_quality_logs.detail IS 'cause, parent, requested, waiting_for; confirmed of an outage; old of a revision; closed: retention.';
COMMENT ON FUNCTION candle_coverage(text, timestamptz, timestamptz) IS
    'Ranges that cover every expected minute once: stream, rest, archive, no-trade, outage, missing.';
COMMENT ON FUNCTION market_now() IS 'The greatest exchange time seen; null before the exchange was first heard.';
COMMENT ON FUNCTION missing_ranges(text, timestamptz, timestamptz) IS 'Minutes without a stored candle, expected or not.';
COMMENT ON FUNCTION expected_range(text) IS 'The minutes this database answers for; empty for an unknown symbol.';
