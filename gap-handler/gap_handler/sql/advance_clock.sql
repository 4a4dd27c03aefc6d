SELECT advance_market_clock($1)
