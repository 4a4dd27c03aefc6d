"""What stops an export, by who must act.

ConfigurationError
└── RequestError            the caller: an argument cannot be had; ``problems`` names every one
MarketDataError
└── ExportError             the caller: what was asked for is right, and could not be written
    └── MissingPackageError the operator: a package of requirements-research.lock is not installed
"""

from __future__ import annotations

from marketdata.errors import ConfigurationError, MarketDataError


class RequestError(ConfigurationError):
    """An argument names what does not exist, or contradicts another."""


class ExportError(MarketDataError):
    """The file could not be made. Nothing stands under its name."""


class MissingPackageError(ExportError):
    """A package that only training needs is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not installed, and exports need it:"
            " pip install --require-hashes -r requirements-research.lock"
        )
