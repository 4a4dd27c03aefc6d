"""Answers whether a health address answers 200. Exit code 0 or 1; the body is printed on failure."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request


def probe(url: str, seconds: float = 4.0) -> tuple[int, str]:
    """The status of a GET and the body's first 2,000 characters; status 0 where nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds) as response:
            return response.status, response.read(2000).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(2000).decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


if __name__ == "__main__":
    status, body = probe(sys.argv[1])
    if status != 200:
        print(f"{status}: {body}")
        sys.exit(1)
