"""WebSocket framing done once a message instead of once a reader (RFC 6455, section 5.2)."""

from __future__ import annotations

import struct


def text_message(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame holding ``payload`` (UTF-8)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81" + struct.pack("!BQ", 127, size) + payload
