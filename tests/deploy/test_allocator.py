"""Both ways to deploy say the same to the allocator, and the benchmark of memory measures with it."""

from __future__ import annotations

from pathlib import Path

import programs

ROOT = Path(__file__).resolve().parents[2]


def test_the_services_get_one_heap_each_however_they_are_deployed() -> None:
    services = programs.services({"SYMBOLS": "BTCUSDT", "HISTORY_DAYS": "1"}, None, "")
    assert [service.name for service in services] == ["data-feeder", "gap-handler"]
    for service in services:
        assert service.environment.items() >= programs.ALLOCATOR.items()
    images = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for name, value in programs.ALLOCATOR.items():
        assert f"ENV {name}={value}\n" in images
    assert f"DEPLOYED: Final = {programs.ALLOCATOR}".replace("'", '"') in (
        ROOT / "benchmarks" / "memory.py"
    ).read_text(encoding="utf-8")
