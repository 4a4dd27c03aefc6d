"""The store: the only code that writes candles, features, quotes and the ledger."""
