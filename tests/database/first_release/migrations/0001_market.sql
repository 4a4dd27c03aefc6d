-- Instruments, the market's clock, candles and quotes.

-- The exclusion constraint on open gaps compares a text column inside a GiST index.
CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE platform_state (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    -- 'binance' or 'simulator': whose candles this database holds. Set once, by the first feeder.
    exchange    text CHECK (exchange IN ('binance', 'simulator')),
    -- False in a database that replays past days: nothing may be dropped by the wall clock.
    policies    boolean NOT NULL DEFAULT true
);
INSERT INTO platform_state DEFAULT VALUES;

CREATE TABLE symbols (
    symbol          text PRIMARY KEY,
    status          text NOT NULL,
    first_kline     timestamptz,
    history_start   timestamptz NOT NULL,
    expected_until  timestamptz
);
COMMENT ON COLUMN symbols.status IS 'The exchange''s own status (TRADING, HALT, BREAK ...) when last asked.';
COMMENT ON COLUMN symbols.first_kline IS 'Open of the exchange''s first minute of this symbol; null until asked.';
COMMENT ON COLUMN symbols.history_start IS 'HISTORY_DAYS before the first start: no minute before it is expected.';
COMMENT ON COLUMN symbols.expected_until IS 'Delisting: no minute from here on is expected; null while listed.';

CREATE TABLE market_clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    time timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE market_clock IS 'One row: the greatest exchange time seen. Read it through market_now().';

CREATE TABLE candles_1m (
    symbol                  text NOT NULL,
    time                    timestamptz NOT NULL,
    open                    double precision NOT NULL,
    high                    double precision NOT NULL,
    low                     double precision NOT NULL,
    close                   double precision NOT NULL,
    volume                  double precision NOT NULL,
    quote_volume            double precision NOT NULL,
    trades                  bigint NOT NULL,
    taker_buy_volume        double precision NOT NULL,
    taker_buy_quote_volume  double precision NOT NULL,
    source                  text NOT NULL,
    known_at                timestamptz NOT NULL,
    PRIMARY KEY (symbol, time),
    CONSTRAINT candles_1m_minute CHECK (date_bin('1 minute', time, timestamptz '2000-01-01 00:00:00+00') = time),
    CONSTRAINT candles_1m_prices CHECK (
        low > 0 AND low <= open AND low <= close AND high >= open AND high >= close AND high < 'Infinity'
    ),
    CONSTRAINT candles_1m_amounts CHECK (
        volume >= 0 AND volume < 'Infinity' AND quote_volume >= 0 AND quote_volume < 'Infinity'
        AND trades >= 0 AND taker_buy_volume >= 0 AND taker_buy_volume < 'Infinity'
        AND taker_buy_quote_volume >= 0 AND taker_buy_quote_volume < 'Infinity'
    ),
    CONSTRAINT candles_1m_source CHECK (source IN ('stream', 'rest', 'archive'))
);
CREATE INDEX candles_1m_time_idx ON candles_1m (time DESC);
COMMENT ON TABLE candles_1m IS 'Final 1-minute candles, exactly the exchange''s. No row is ever invented.';
COMMENT ON COLUMN candles_1m.time IS 'The minute''s open (UTC). The feature row that includes it is one minute later.';
COMMENT ON COLUMN candles_1m.trades IS 'Number of trades; 0: the market was open and nothing traded.';
COMMENT ON COLUMN candles_1m.known_at IS 'Exchange time at which these numbers reached us.';

CREATE TABLE book_ticker_1m (
    symbol      text NOT NULL,
    time        timestamptz NOT NULL,
    bid         double precision NOT NULL,
    bid_size    double precision NOT NULL,
    ask         double precision NOT NULL,
    ask_size    double precision NOT NULL,
    spread_bps  double precision NOT NULL,
    imbalance   double precision NOT NULL,
    updates     bigint NOT NULL,
    known_at    timestamptz NOT NULL,
    PRIMARY KEY (symbol, time)
);
CREATE INDEX book_ticker_1m_time_idx ON book_ticker_1m (time DESC);
COMMENT ON TABLE book_ticker_1m IS 'One row a minute from @bookTicker. It cannot be backfilled.';
COMMENT ON COLUMN book_ticker_1m.spread_bps IS 'Mean of (ask - bid) / mid, basis points, over once-a-second samples of the newest quote.';
COMMENT ON COLUMN book_ticker_1m.imbalance IS 'Mean of (bid_size - ask_size) / (bid_size + ask_size) over the same samples.';
COMMENT ON COLUMN book_ticker_1m.updates IS 'Frames received in the minute.';
