"""The gap-handler: claims gaps, fetches their candles by REST, writes them and closes the gaps."""
