"""``python -m marketdata.export``: a training set from the stored candles, as a file."""

from __future__ import annotations

import sys

from marketdata.export.cli import main

if __name__ == "__main__":
    sys.exit(main())
