"""REST errors as Binance words them (errors.md)."""

from __future__ import annotations


class ApiError(Exception):
    """An answer with a negative code; ``status`` is the HTTP status."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}
        self.status = status


def illegal(name: str, legal: str) -> ApiError:
    """-1100: a parameter holds characters it may not."""
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def mandatory(name: str) -> ApiError:
    """-1102: a parameter is missing."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def unread(read: int, sent: int) -> ApiError:
    """-1104: more parameters than the endpoint knows."""
    return ApiError(
        -1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."
    )


def empty(name: str) -> ApiError:
    """-1105: a parameter is there without a value."""
    return ApiError(-1105, f"Parameter '{name}' was empty.")


def invalid_interval() -> ApiError:
    """-1120."""
    return ApiError(-1120, "Invalid interval.")


def invalid_symbol() -> ApiError:
    """-1121."""
    return ApiError(-1121, "Invalid symbol.")


def invalid_value(name: str) -> ApiError:
    """-1130: a value out of range."""
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def combination() -> ApiError:
    """-1128: parameters that exclude each other."""
    return ApiError(-1128, "Combination of optional parameters invalid.")
