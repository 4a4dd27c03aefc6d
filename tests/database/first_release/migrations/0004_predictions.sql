-- What models write, and how right they were.

-- The server's own idea of now for a prediction: a replayed past day has the market's clock alone,
-- a live database whose feeder is behind must not let a late prediction pass as early.
CREATE FUNCTION prediction_clock() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN (SELECT policies FROM platform_state)
                THEN greatest(now(), (SELECT time FROM market_clock))
                ELSE coalesce((SELECT time FROM market_clock), now()) END
$$;

CREATE TABLE predictions (
    symbol           text NOT NULL,
    time             timestamptz NOT NULL,
    model            text NOT NULL,
    horizon_minutes  integer NOT NULL CHECK (horizon_minutes > 0),
    predicted        double precision NOT NULL CHECK (predicted > 0 AND predicted < 'Infinity'),
    confidence       double precision CHECK (confidence BETWEEN 0 AND 1),
    features_time    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT prediction_clock(),
    actual           double precision,
    error            double precision,
    PRIMARY KEY (symbol, time, model, horizon_minutes)
);
CREATE INDEX predictions_time_idx ON predictions (time DESC);
COMMENT ON COLUMN predictions.time IS 'The instant of the decision.';
COMMENT ON COLUMN predictions.predicted IS 'The price expected at time + horizon_minutes.';
COMMENT ON COLUMN predictions.confidence IS 'Probability, 0 to 1, that the predicted direction is right.';
COMMENT ON COLUMN predictions.created_at IS 'Set by the server. A row written after its target is not scored.';
COMMENT ON COLUMN predictions.actual IS 'Close at time + horizon_minutes, filled nightly.';
COMMENT ON COLUMN predictions.error IS 'predicted - actual.';

CREATE TABLE ensemble_models (
    name           text NOT NULL,
    version        text NOT NULL,
    weight         double precision NOT NULL DEFAULT 1 CHECK (weight >= 0),
    traffic_share  double precision NOT NULL DEFAULT 0 CHECK (traffic_share BETWEEN 0 AND 1),
    parameters     jsonb NOT NULL DEFAULT '{}',
    active         boolean NOT NULL DEFAULT true,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);
COMMENT ON TABLE ensemble_models IS 'The models being compared: their weights in an ensemble and their share of traffic.';

CREATE TABLE prediction_accuracy (
    model            text NOT NULL,
    symbol           text NOT NULL,
    horizon_minutes  integer NOT NULL,
    day              date NOT NULL,
    scored           bigint NOT NULL,
    hit_rate         double precision,
    mae              double precision NOT NULL,
    rmse             double precision NOT NULL,
    brier            double precision,
    baseline_mae     double precision,
    baseline_rmse    double precision,
    PRIMARY KEY (model, symbol, horizon_minutes, day)
);
COMMENT ON TABLE prediction_accuracy IS 'Per model, symbol, horizon and UTC day of the decision; rolled up nightly.';
COMMENT ON COLUMN prediction_accuracy.hit_rate IS 'Share of scored predictions whose direction from the price at the decision was right.';
COMMENT ON COLUMN prediction_accuracy.brier IS 'Mean squared distance of confidence from 1 (right) or 0 (wrong), where given.';
COMMENT ON COLUMN prediction_accuracy.baseline_mae IS 'The same for persistence: the price stays what it was at the decision.';

CREATE TABLE nightly_jobs (
    name      text PRIMARY KEY,
    run_at    time NOT NULL,
    next_run  timestamptz NOT NULL,
    last_run  timestamptz
);
COMMENT ON TABLE nightly_jobs IS 'Jobs the gap-handler calls where the server has no scheduler of its own.';
