"""A range of rows as typed columns and as data frames, whose packages are imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from marketdata.errors import MissingPackageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A text column that repeats itself: row ``n`` holds ``labels[codes[n]]``."""

    labels: tuple[str, ...]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)

    def to_numpy(self) -> NDArray[np.object_]:
        """One text a row."""
        return np.array(self.labels, dtype=object)[self.codes] if self.labels else np.empty(0, dtype=object)


Column: TypeAlias = NDArray[Any] | Labels


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table:
    """Rows in order of symbol, as asked for, and time. ``columns`` holds them by name, all of one length.

    Instants are ``datetime64[us]`` in UTC, numbers float64 (NaN where a feature is not defined) or integers,
    text ``Labels``. ``names`` are the columns that ``to_numpy`` gives: the features, or a candle's numbers.
    """

    columns: dict[str, Column]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.columns["time"])

    def __repr__(self) -> str:
        """What it holds, in a line: the numbers are for a data frame to show."""
        about = f"{len(self):,} rows, {len(self.names)} columns of numbers"
        if len(self):
            labels: Labels = self.columns["symbol"]  # type: ignore[assignment]
            first, last = np.datetime_as_string([self.time.min(), self.time.max()], unit="m", timezone="UTC")
            about += f": {', '.join(labels.labels)}, {first} to {last}"
        return f"Table({about})"

    @property
    def time(self) -> NDArray[np.datetime64]:
        """Each row's time, ``datetime64[us]``, UTC."""
        times: NDArray[np.datetime64] = self.columns["time"]  # type: ignore[assignment]
        return times

    @property
    def symbol(self) -> NDArray[np.object_]:
        """Each row's symbol."""
        labels: Labels = self.columns["symbol"]  # type: ignore[assignment]
        return labels.to_numpy()

    def to_numpy(self) -> NDArray[np.float64]:
        """The columns ``names`` as float64 of shape (rows, len(names)); NaN where a value is not defined."""
        if not self.names:
            return np.empty((len(self), 0))
        return np.column_stack([np.asarray(self.columns[name], dtype=np.float64) for name in self.names])

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table``: timestamps of microseconds in UTC, null where a value is not defined.

        Raises ``MissingPackageError`` without pyarrow, as do the two below without theirs.
        """
        pa = _package("pyarrow", "to_arrow")

        def array(column: Column) -> Any:
            if isinstance(column, Labels):
                return pa.DictionaryArray.from_arrays(
                    column.codes, pa.array(column.labels, pa.string())
                ).cast(pa.string())
            if column.dtype.kind == "M":
                return pa.array(column, pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
            return pa.array(column, from_pandas=True)

        return pa.table({name: array(column) for name, column in self.columns.items()})

    def to_pandas(self) -> pd.DataFrame:
        """A ``pandas.DataFrame`` with a plain index: ``datetime64[us, UTC]``, NaN where not defined."""
        pandas = _package("pandas", "to_pandas")

        def series(column: Column) -> Any:
            if isinstance(column, Labels):
                return pandas.array(column.to_numpy(), dtype="str")
            return pandas.DatetimeIndex(column).tz_localize("UTC") if column.dtype.kind == "M" else column

        frame: pd.DataFrame = pandas.DataFrame(
            {name: series(column) for name, column in self.columns.items()}
        )
        return frame

    def to_polars(self) -> pl.DataFrame:
        """A ``polars.DataFrame``: ``Datetime('us', 'UTC')``, null where a value is not defined."""
        polars = _package("polars", "to_polars")

        def series(name: str, column: Column) -> Any:
            if isinstance(column, Labels):
                return polars.Series(name, column.labels, dtype=polars.String).gather(column.codes)
            if column.dtype.kind == "M":
                return polars.Series(name, column).dt.replace_time_zone("UTC")
            return polars.Series(name, column, nan_to_null=True)

        frame: pl.DataFrame = polars.DataFrame(
            [series(name, column) for name, column in self.columns.items()]
        )
        return frame


def concatenate(parts: Sequence[Column]) -> Column:
    """Return columns of one kind one after another."""
    if not isinstance(parts[0], Labels):
        return np.concatenate([np.asarray(part) for part in parts])
    texts = [part for part in parts if isinstance(part, Labels)]
    labels = tuple(dict.fromkeys(label for text in texts for label in text.labels))
    places = [np.array([labels.index(label) for label in text.labels], dtype=np.int32) for text in texts]
    return Labels(
        labels,
        np.concatenate([p[t.codes] if len(p) else t.codes for p, t in zip(places, texts, strict=True)]),
    )


def to_labels(texts: NDArray[np.bytes_]) -> Labels:
    """Return padded ASCII text as labels."""
    found, codes = np.unique(texts, return_inverse=True)
    return Labels(tuple(text.decode().rstrip() for text in found), codes.astype(np.int32))


def _package(name: str, asked: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(f"{asked}() needs {name}: pip install {name}", name=name) from error
