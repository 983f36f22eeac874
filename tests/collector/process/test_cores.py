from __future__ import annotations

from pathlib import Path

import pytest

import collector.process.cores
from collector.process.cores import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1), ("9900000 100000", 8), (None, 8)],
)
def test_a_container_has_as_many_cores_as_it_has_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, cores: int
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota + "\n")
    monkeypatch.setattr(collector.process.cores, "_QUOTA", file)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert usable_cores() == cores
