"""SQL by name: each query is a ``.sql`` file beside the module that runs it."""

from __future__ import annotations

from pathlib import Path


class SqlFiles:
    """The queries of one folder, read on first use.

    ``queries["claim"]`` is the text of ``claim.sql``; an unknown name raises ``KeyError``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._texts:
            path = self._folder / f"{name}.sql"
            if not path.is_file():
                raise KeyError(f"no query {name!r} in {self._folder.name}/")
            self._texts[name] = path.read_text(encoding="utf-8")
        return self._texts[name]
