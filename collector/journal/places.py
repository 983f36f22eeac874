"""Where workers keep their journals, beside those of the collector itself."""

from __future__ import annotations

import re
from pathlib import Path

JOURNAL = "journal"
_NAME = re.compile(r"worker-([1-9][0-9]*)")


SIGNALS = ("traces", "logs")
"""What is journalled."""


def lane(signal: str, worker: int) -> str:
    """The name of a worker's journal of a signal, and of what reads it."""
    return f"{signal}/worker-{worker}"


def directory_of(data_dir: Path, worker: int, signal: str) -> Path:
    return data_dir / JOURNAL / f"worker-{worker}" / signal


def workers_in(data_dir: Path) -> list[int]:
    """Numbers of the workers that ever had journals here."""
    names = (_NAME.fullmatch(path.name) for path in (data_dir / JOURNAL).glob("worker-*"))
    return sorted(int(name[1]) for name in names if name)


def share_of(max_bytes: int, workers: int) -> int:
    """What one of them may use of a bound that is meant for all; 0 is none."""
    return max(1, max_bytes // workers) if max_bytes else 0
