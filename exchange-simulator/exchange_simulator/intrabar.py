"""How a minute looked before it ended: a path from its open over both extremes to its close."""

from __future__ import annotations

from exchange_simulator.decimals import E8
from exchange_simulator.rows import MINUTE_MS, Ints
from exchange_simulator.symbols import SymbolSpec

_GOLDEN = 0x9E3779B1
_MASK = 0xFFFFFFFF


def mix(salt: int, number: int) -> int:
    """A well-spread 32-bit hash of two integers (the finaliser of MurmurHash3)."""
    h = (salt ^ (number * _GOLDEN)) & _MASK
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    return h ^ (h >> 16)


class Path:
    """The inside of one candle. Deterministic in symbol, minute and instant.

    Between two instants high only rises, low only falls, volumes and trades only grow, and the
    volume-weighted price lies between low and high.
    """

    __slots__ = ("_back", "_far", "_hash", "_near", "_noise", "_row", "_spec", "_turn", "_whole")

    def __init__(self, row: Ints, spec: SymbolSpec) -> None:
        self._row = row
        self._spec = spec
        start, first, high, low, last = row[:5]
        self._whole = row[6] + 1 - start or 1
        self._hash = h = mix(spec.salt, start // MINUTE_MS)
        self._turn = 0.12 + 0.28 * ((h & 0xFFFF) / 65536)
        self._back = 0.52 + 0.33 * ((h >> 16) / 65536)
        self._near, self._far = (low, high) if last >= first else (high, low)
        self._noise = 0.2 * (high - low)

    def prices(self, at_ms: int) -> tuple[int, int, int]:
        """High and low so far and the newest price at ``at_ms``, in 1e-8."""
        row, tick = self._row, self._spec.tick
        f = (at_ms - row[0]) / self._whole
        first, near, far = row[1], self._near, self._far
        if f < self._turn:
            price = first + (near - first) * (f if f > 0.0 else 0.0) / self._turn
            one, other = first, round(price / tick) * tick
        elif f < self._back:
            price = near + (far - near) * (f - self._turn) / (self._back - self._turn)
            one, other = near, round(price / tick) * tick
            # The way from one extreme to the other leads past the open.
            if (other < first) == (near < far):
                other = first
        else:
            price = far + (row[4] - far) * ((f if f < 1.0 else 1.0) - self._back) / (1.0 - self._back)
            one, other = near, far
        high, low = (one, other) if one > other else (other, one)
        wobble = ((((at_ms ^ self._hash) * _GOLDEN) & _MASK) / 4294967296 - 0.5) * self._noise
        close = round((price + wobble) / tick) * tick
        return high, low, low if close < low else high if close > high else close

    def candle(self, at_ms: int) -> Ints:
        """The candle as it stood at ``at_ms``, strictly before its close.

        Its close time is the nominal one: nobody knows beforehand that a candle will end early.
        """
        row = self._row
        start, first, count = row[0], row[1], row[8]
        end = start + MINUTE_MS - 1
        if not count:
            return [start, first, first, first, first, 0, end, 0, 0, 0, 0]
        f = (at_ms - start) / self._whole
        high, low, close = self.prices(at_ms)
        lot = self._spec.lot
        volume = int(row[5] * f) // lot * lot or lot
        taker = int(row[9] * f) // lot * lot
        middle = (low + high) // 2
        trades = int(count * f) or 1
        quote, taker_quote = volume * middle // E8, taker * middle // E8
        return [start, first, high, low, close, volume, end, quote, trades, taker, taker_quote]


def partial(row: Ints, at_ms: int, spec: SymbolSpec) -> Ints:
    """The candle ``row`` as it stood at ``at_ms``, see :class:`Path`."""
    return Path(row, spec).candle(at_ms)
