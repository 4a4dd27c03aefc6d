SELECT market_now()
