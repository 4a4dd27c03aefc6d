"""Asks whether the exchange can be reached and has the symbols: ``exchange.py API_URLS STREAM_URLS SYMBOLS``.

One address of each list has to answer. Prints what is wrong and what to do about it; exit code 0, 1, or 3
where an address is the exchange simulator's, whose candles belong in a demo's database alone, or 4 where the
exchange does not list a symbol. Standard library only.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 8.0
NOT_SERVED = 451
SIMULATED = -1
SIMULATOR_HEADER = "X-Exchange-Simulator"

WHAT_TO_DO = """\
What to do, one of:
  ./deploy.sh --demo            runs against a simulated exchange; nothing outside is needed
  the public data addresses, which are served in more places. In .env:
    BINANCE_API_URL=https://data-api.binance.vision
    BINANCE_STREAM_URL=wss://data-stream.binance.vision"""

EXPLAIN_451 = """\
Binance answers 451: it does not serve your location from this address. That is its decision about where
the request comes from, not a fault of this machine, and trying again does not help."""

EXPLAIN_SILENCE = """\
Nothing answers at all. Look first whether this machine has a network, and whether its DNS, a proxy or a
firewall stands in the way: the other addresses of Binance go the same way."""


def ask_api(url: str) -> tuple[int, str]:
    """Status and cause of ``GET /api/v3/ping``; status 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"{url}/api/v3/ping", timeout=TIMEOUT_SECONDS) as response:
            if response.headers.get(SIMULATOR_HEADER):
                return SIMULATED, "is the exchange simulator, and this deployment is not a demo"
            return response.status, ""
    except urllib.error.HTTPError as error:
        return error.code, f"answers {error.code}"
    except (OSError, ValueError) as error:
        return 0, f"cannot be reached ({getattr(error, 'reason', error)})"


def ask_stream(url: str) -> tuple[int, str]:
    """Status and cause of a WebSocket handshake; 101 is success, 0 no answer."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    path = re.sub(r"/(ws|stream)/?$", "", parts.path).rstrip("/")
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path}/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    try:
        with socket.create_connection((host, port), TIMEOUT_SECONDS) as raw:
            link = ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secure else raw
            with link:
                link.sendall(request.encode())
                line = link.recv(1024).split(b"\r\n", 1)[0].split()
    except OSError as error:
        return 0, f"cannot be reached ({error})"
    status = int(line[1]) if len(line) > 1 and line[1].isdigit() else 0
    return status, "" if status == 101 else f"answers {status or 'nothing that is HTTP'}"


def unlisted(url: str, symbols: list[str]) -> list[str]:
    """The symbols that the exchange behind ``url`` does not list; none where it cannot say."""
    missing = []
    for symbol in symbols:
        query = urllib.parse.urlencode({"symbol": symbol})
        try:
            urllib.request.urlopen(f"{url}/api/v3/exchangeInfo?{query}", timeout=TIMEOUT_SECONDS).close()
        except urllib.error.HTTPError as error:
            # -1121: Invalid symbol, -1100: illegal characters in one (errors.md).
            if error.code == 400 and re.search(rb'"code":\s*-(1121|1100)\b', error.read(1000)):
                missing.append(symbol)
        except (OSError, ValueError):
            return []
    return missing


def complaints(api_urls: list[str], stream_urls: list[str], symbols: list[str]) -> tuple[int, list[str]]:
    """The exit code and what stands in the way, line by line; 0 where one address of each list answers."""
    lines: list[str] = []
    statuses: set[int] = set()
    for name, urls, ask, good in (
        ("BINANCE_API_URL", api_urls, ask_api, 200),
        ("BINANCE_STREAM_URL", stream_urls, ask_stream, 101),
    ):
        answers = {url: ask(url) for url in urls}
        asked = {status for status, _ in answers.values()}
        if good in asked and SIMULATED not in asked:
            continue
        statuses |= asked
        lines += [f"{name}: {url} {cause}" for url, (_, cause) in answers.items()]
    if NOT_SERVED in statuses:
        lines.append(EXPLAIN_451)
    elif lines and statuses == {0}:
        lines.append(EXPLAIN_SILENCE)
    if not lines:
        missing = unlisted(next(url for url in api_urls if ask_api(url)[0] == 200), symbols)
        if missing:
            return 4, [f"SYMBOLS: the exchange does not list {', '.join(missing)}. Correct it in .env."]
    code = (3 if SIMULATED in statuses else 1) if lines else 0
    return code, [*lines, WHAT_TO_DO] if lines else []


if __name__ == "__main__":
    code, found = complaints(*([part.strip() for part in text.split(",")] for text in sys.argv[1:4]))
    print("\n".join(found), end="\n" if found else "")
    sys.exit(code)
