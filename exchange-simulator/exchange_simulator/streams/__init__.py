"""The WebSocket side: what is sent, when, and to whom."""
