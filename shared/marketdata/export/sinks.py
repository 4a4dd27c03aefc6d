"""Rows to a file: Parquet, Arrow or CSV, under its name only once it is whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from marketdata.errors import ExportError
from marketdata.export.request import Request
from marketdata.export.rows import Rows
from marketdata.features.columns import Floats
from marketdata.features.registry import FEATURE_VERSION

_MINUTES: Final = "_minutes"


def schema(request: Request) -> pyarrow.Schema:
    """The file's columns, in order."""
    number = pyarrow.float64()
    fields = [("symbol", pyarrow.string()), ("time", pyarrow.timestamp("ms", tz="UTC"))]
    fields += [(name, number) for name in request.features]
    fields += [("window_coverage", number)]
    for label in request.labels:
        if label.kind == "return":
            fields += [(name, number) for name in label.names]
        else:
            fields += [
                (name, pyarrow.int32() if name.endswith(_MINUTES) else pyarrow.int8()) for name in label.names
            ]
    fields += [("feature_version", pyarrow.int32())]
    return pyarrow.schema(fields)


def table(request: Request, rows: Rows) -> pyarrow.Table:
    """Rows as columns of the file's types, null where a number is NaN."""
    count = len(rows.time)
    columns: list[Any] = [
        pyarrow.DictionaryArray.from_arrays(
            _array(rows.symbol, pyarrow.int16()), _texts(request.symbols)
        ).cast(pyarrow.string()),
        _array(rows.time, pyarrow.timestamp("ms", tz="UTC")),
        *(_nullable(column) for column in rows.features),
        _nullable(rows.coverage),
    ]
    wanted = schema(request)
    first = len(columns)
    for place, column in enumerate(rows.labels):
        columns.append(_nullable(column).cast(wanted.field(first + place).type))
    columns.append(_array(np.full(count, FEATURE_VERSION, dtype=np.int32), pyarrow.int32()))
    return pyarrow.Table.from_arrays(columns, schema=wanted)


def _array(values: NDArray[Any], kind: Any, present: NDArray[np.bool_] | None = None) -> Any:
    """The memory of ``values`` as an array. Not by ``pyarrow.array``, which copies, and imports pandas."""
    bits = None if present is None else pyarrow.py_buffer(np.packbits(present, bitorder="little"))
    return pyarrow.Array.from_buffers(
        kind, len(values), [bits, pyarrow.py_buffer(np.ascontiguousarray(values))]
    )


def _nullable(column: Floats) -> Any:
    present = ~np.isnan(column)
    return _array(column, pyarrow.float64(), None if present.all() else present)


def _texts(texts: Sequence[str]) -> Any:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pyarrow.py_buffer(ends), pyarrow.py_buffer(b"".join(encoded))]
    return pyarrow.Array.from_buffers(pyarrow.string(), len(encoded), buffers)


def _repeating(columns: pyarrow.Schema) -> list[str]:
    """The columns worth a dictionary. Features hardly repeat themselves: tried on them, it costs twice the
    whole rest of the writing, and a fifth of the size."""
    return [
        field.name for field in columns if field.type != pyarrow.float64() or field.name == "window_coverage"
    ]


class Sink:
    """An open file that takes rows in order. Its methods raise ``ExportError`` where the disk refuses."""

    def __init__(self, request: Request, kind: str, path: Path) -> None:
        self._request = request
        self._path = path
        self._writer: Any
        columns = schema(request)
        with writing(path):
            if kind == "parquet":
                self._writer = pyarrow.parquet.ParquetWriter(
                    path, columns, compression="zstd", use_dictionary=_repeating(columns)
                )
            elif kind == "arrow":
                self._writer = pyarrow.ipc.new_file(path, columns)
            else:
                options = pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none")
                self._writer = pyarrow.csv.CSVWriter(path, columns, write_options=options)

    def write(self, rows: Rows) -> None:
        """Append rows; none is fine."""
        if len(rows.time):
            with writing(self._path):
                self._writer.write_table(table(self._request, rows))

    def close(self) -> None:
        """Write what ends the file."""
        with writing(self._path):
            self._writer.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into an ``ExportError`` that names the folder."""
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"{path.parent} cannot be written to: {error.strerror or error}"
            " (make room there, or take another --output)"
        ) from error


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a name to write to, in the folder of ``path``, that becomes ``path`` at the end of the block.

    After a failure nothing is left of it. Raises ``ExportError`` where the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with writing(path):
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
