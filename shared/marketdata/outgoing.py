"""What a request to somebody else can fail with."""

from __future__ import annotations

from typing import Final

import httpx

UNANSWERED: Final = (httpx.HTTPError, TimeoutError, AttributeError)
"""Nobody answered. ``AttributeError`` is the network's doing too: a connection that is reset before its first
use has no socket any more when anyio asks it for its name. Catch these around the request alone."""
