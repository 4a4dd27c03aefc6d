"""Binance spot on this machine: streams, REST and archive from a seed or from recorded days."""

from exchange_simulator.config import SimulatorConfig
from exchange_simulator.simulator import Simulator

__all__ = ["Simulator", "SimulatorConfig"]
