-- What the nightly job has still to score, without a look at three months of predictions.

CREATE INDEX predictions_unscored_idx ON predictions (time) WHERE actual IS NULL;
