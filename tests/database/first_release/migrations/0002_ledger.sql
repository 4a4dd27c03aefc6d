-- The ledger: everything that went wrong with the data, and what became of it.

CREATE TABLE data_quality_logs (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at          timestamptz NOT NULL DEFAULT now(),
    event_type          text NOT NULL CHECK (event_type IN
                            ('gap', 'outage', 'revision', 'invalid', 'disconnect', 'stale', 'failover')),
    symbol              text,
    gap_start           timestamptz,
    gap_end             timestamptz,
    candles_missing     integer,
    candles_recovered   integer NOT NULL DEFAULT 0,
    resolved            boolean NOT NULL DEFAULT false,
    resolved_at         timestamptz,
    attempts            integer NOT NULL DEFAULT 0,
    lease_until         timestamptz,
    next_look_at        timestamptz,
    detail              jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT data_quality_logs_range CHECK (gap_start < gap_end),
    CONSTRAINT data_quality_logs_gap CHECK (
        event_type NOT IN ('gap', 'outage') OR (symbol IS NOT NULL AND gap_start IS NOT NULL AND gap_end IS NOT NULL)
    ),
    CONSTRAINT data_quality_logs_open_gaps_apart EXCLUDE USING gist (
        symbol WITH =, tstzrange(gap_start, gap_end) WITH &&
    ) WHERE (event_type = 'gap' AND NOT resolved),
    CONSTRAINT data_quality_logs_outages_apart EXCLUDE USING gist (
        symbol WITH =, tstzrange(gap_start, gap_end) WITH &&
    ) WHERE (event_type = 'outage')
);
CREATE INDEX data_quality_logs_created_idx ON data_quality_logs (created_at DESC);
CREATE INDEX data_quality_logs_open_idx ON data_quality_logs (gap_end DESC)
    WHERE NOT resolved AND event_type IN ('gap', 'outage');
CREATE INDEX data_quality_logs_symbol_idx ON data_quality_logs (symbol, gap_start);
COMMENT ON TABLE data_quality_logs IS 'The ledger of data quality. An open gap here is the only work order of the gap-handler.';
COMMENT ON COLUMN data_quality_logs.gap_end IS 'Exclusive: the open of the first minute after the range.';
COMMENT ON COLUMN data_quality_logs.lease_until IS 'Wall clock: until then one worker owns the row.';
COMMENT ON COLUMN data_quality_logs.next_look_at IS 'Market time: no worker takes the row before it.';
