"""WebSocket frames to candles, quotes and features."""
