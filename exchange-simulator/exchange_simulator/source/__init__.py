"""Where the candles come from: a seed or recorded archives."""
