"""What every service shares: models, Binance messages, features, the store, settings, clock, health."""

__version__ = "0.1.0"
