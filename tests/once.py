"""What takes long to make and is the same in every process of the suite: made by the first, kept for as long as what
it is made by stays the same."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def made_once(name: str, made_by: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """A directory that `make` filled, given the sources `made_by`. Nobody may write there afterwards."""
    digest = hashlib.sha256(b"".join(sorted(file.read_bytes() for file in made_by))).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"eddyline-{name}-{os.getuid()}-{digest}"
    if not kept.exists():
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():  # no other process was first
                making = Path(tempfile.mkdtemp())
                make(making)
                making.rename(kept)
    return kept
