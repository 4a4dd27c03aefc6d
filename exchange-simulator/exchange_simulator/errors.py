"""Everything this package raises on purpose.

SimulatorError
├── ConfigError    a setting is wrong: change it and start again
├── SourceError    the recorded data can't be read: replace the file named in the message
├── ClockError     market time can't be set as asked (it never runs backwards)
└── FaultError     a fault is unknown, or one of its parameters is
"""

from __future__ import annotations


class SimulatorError(Exception):
    """Base of every error of this package."""


class ConfigError(SimulatorError):
    """A setting is wrong or settings contradict each other."""


class SourceError(SimulatorError):
    """A recorded file is missing, unreadable or not in Binance's archive format."""


class ClockError(SimulatorError):
    """Market time can't be set as asked."""


class FaultError(SimulatorError):
    """A fault's kind or one of its parameters is unknown or malformed."""
