"""Kinds that act on the archive: requests for it, its files and their checksums."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from exchange_simulator.faults.model import Apply, Fault, Phase, World, kind
from exchange_simulator.faults.requests import Answer

FOLDER: Final = "/data/"
_MESSAGES: Final = {
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}
_HEADER: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore"
)
_SECOND_MS: Final = 1_000


class Published(NamedTuple):
    """A zip as it can be downloaded, and the SHA-256 its CHECKSUM file tells."""

    symbol: str
    name: str
    content: bytes
    digest: str


Spoil = tuple[Published, random.Random]


def archive_kind(
    name: str,
    phase: Phase,
    summary: str,
    *,
    choices: Mapping[str, tuple[str, ...]] | None = None,
    **defaults: Any,
) -> Callable[[Apply], Apply]:
    """Enter a kind chosen by a part of the path."""
    return kind(name, phase, summary, choices=choices, path=FOLDER, **defaults)


@archive_kind(
    "archive_status", Phase.REQUEST, "Archive paths answer `status` (404, 403, 500, 503).", status=404
)
async def archive_status(fault: Fault, path: str, world: World) -> Answer:
    """S3's body for it."""
    status = int(fault.params["status"])
    code, message = _MESSAGES.get(status, ("InternalError", "We encountered an internal error."))
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


@archive_kind("archive_delay", Phase.REQUEST, "Archive paths answer `seconds` (real) late.", seconds=1.0)
async def archive_delay(fault: Fault, path: str, world: World) -> None:
    """The answer itself is right."""
    await asyncio.sleep(float(fault.params["seconds"]))


@archive_kind("archive_checksum", Phase.ARCHIVE, "The CHECKSUM is of another file.")
def archive_checksum(fault: Fault, spoil: Spoil, world: World) -> Published:
    """``count`` is how many files, here and below."""
    file, rng = spoil
    return file._replace(digest=hashlib.sha256(rng.randbytes(32)).hexdigest())


@archive_kind(
    "archive_truncated",
    Phase.ARCHIVE,
    "Half a zip; `checksum` (`whole`; `half`) says of which its CHECKSUM is.",
    choices={"checksum": ("whole", "half")},
    checksum="whole",
)
def archive_truncated(fault: Fault, spoil: Spoil, world: World) -> Published:
    """An upload that broke off."""
    file, _ = spoil
    half = file.content[: len(file.content) // 2]
    return file._replace(content=half) if fault.params["checksum"] == "whole" else _with(file, half)


@archive_kind(
    "archive_rows",
    Phase.ARCHIVE,
    "The file is wrong and its CHECKSUM right: `defect` is `lacking` (`rows` rows in a row are not there), "
    "`off_grid` (`rows` rows open seconds late), `unit` (micro- for milliseconds, or back) or `header`.",
    choices={"defect": ("lacking", "off_grid", "unit", "header")},
    defect="lacking",
    rows=5,
)
def archive_rows(fault: Fault, spoil: Spoil, world: World) -> Published:
    """Defects of the exchange's own record. Which rows follows from the fault's seed."""
    file, rng = spoil
    try:
        with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
            entry = archive.infolist()[0]
            lines = archive.read(entry).decode().splitlines()
    except zipfile.BadZipFile:
        return file  # cut off by another fault: there is nothing left to spoil
    head = [lines.pop(0)] if lines and not lines[0][:1].isdigit() else []  # another fault's
    count = min(int(fault.params["rows"]), len(lines))
    first = rng.randrange(len(lines) - count + 1)
    match fault.params["defect"]:
        case "lacking":
            del lines[first : first + count]
        case "off_grid":
            late = rng.randrange(1, 60) * _SECOND_MS
            for n in range(first, first + count):
                stamp, rest = lines[n].split(",", 1)
                lines[n] = f"{int(stamp) + (late if len(stamp) == 13 else late * 1000)},{rest}"
        case "unit":
            lines = [_other_unit(line) for line in lines]
        case "header":
            head = [_HEADER]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(entry.filename, entry.date_time)
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, "".join(f"{line}\n" for line in (*head, *lines)))
    return _with(file, buffer.getvalue())


def _with(file: Published, content: bytes) -> Published:
    return file._replace(content=content, digest=hashlib.sha256(content).hexdigest())


def _other_unit(line: str) -> str:
    cells = line.split(",")
    milliseconds = len(cells[0]) == 13
    cells[0] = str(int(cells[0]) * 1000) if milliseconds else str(int(cells[0]) // 1000)
    cells[6] = str(int(cells[6]) * 1000 + 999) if milliseconds else str(int(cells[6]) // 1000)
    return ",".join(cells)
