"""Binance's protocol: bytes to models, and the addresses to ask. Nothing here does I/O."""
