-- A table of this session for what is about to be compared; COPY is the fastest way in. It is empty again
-- after each transaction, and before the second write of one.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_candles (
    symbol                  text NOT NULL,
    time                    bigint NOT NULL,
    open                    double precision NOT NULL,
    high                    double precision NOT NULL,
    low                     double precision NOT NULL,
    close                   double precision NOT NULL,
    volume                  double precision NOT NULL,
    quote_volume            double precision NOT NULL,
    trades                  bigint NOT NULL,
    taker_buy_volume        double precision NOT NULL,
    taker_buy_quote_volume  double precision NOT NULL,
    known_at                bigint NOT NULL
) ON COMMIT DELETE ROWS;
DELETE FROM staged_candles
