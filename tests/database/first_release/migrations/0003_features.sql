-- Features by the minute, and the ranges whose rows must be computed again.

CREATE TABLE feature_sets (
    version     integer PRIMARY KEY,
    names       text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE feature_sets IS 'What each position of feature_values.values means. A version only ever appends names.';

CREATE TABLE feature_values (
    symbol           text NOT NULL,
    time             timestamptz NOT NULL,
    feature_version  integer NOT NULL,
    values           double precision[] NOT NULL,
    window_coverage  double precision NOT NULL,
    known_at         timestamptz NOT NULL,
    PRIMARY KEY (symbol, time)
);
CREATE INDEX feature_values_time_idx ON feature_values (time DESC);
COMMENT ON COLUMN feature_values.time IS 'The instant from which the row may be used: the close of the last candle it saw.';
COMMENT ON COLUMN feature_values.values IS 'By position, as feature_sets names them; null where a value is not defined.';
COMMENT ON COLUMN feature_values.window_coverage IS 'Share of the window''s minutes that were real candles, 0 to 1.';
COMMENT ON COLUMN feature_values.known_at IS 'Exchange time at which this row was computed.';

CREATE TABLE stale_features (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol     text NOT NULL,
    from_time  timestamptz NOT NULL,
    to_time    timestamptz NOT NULL,
    CHECK (from_time < to_time)
);
COMMENT ON TABLE stale_features IS 'Feature rows [from_time, to_time) to be computed again; written with the candle that made them stale.';
