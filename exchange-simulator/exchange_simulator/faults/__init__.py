"""Scripted faults: what the exchange can be told to do wrong."""

from exchange_simulator.faults.book import Faults
from exchange_simulator.faults.model import Fault

__all__ = ["Fault", "Faults"]
