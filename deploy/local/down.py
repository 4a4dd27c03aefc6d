"""Stops the local deployment; its data stays."""

from __future__ import annotations

import supervision

if __name__ == "__main__":
    supervision.shutdown()
