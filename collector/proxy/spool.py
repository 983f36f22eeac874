"""What is done here and not yet safe elsewhere, in files: a process that is killed loses nothing of it.

One file a batch, written at once under another name and renamed, so that a file is whole or is not there; its owner's
alone (0600). It is left to the system when it reaches the disk: a crash of the machine may cost the last seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)

MAX_BYTES = 256 << 20
_UNFINISHED = ".part"


class Spool:
    """Args:
    directory: is made on first use; its owner's alone.
    max_bytes: of all files; beyond that the oldest are taken away.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._files: OrderedDict[str, int] = OrderedDict()
        """Sizes by name, the oldest first."""
        self._bytes = 0
        self._last_name = 0
        self._failing = False
        for file in sorted(directory.iterdir()) if directory.is_dir() else ():
            if file.suffix == _UNFINISHED:
                file.unlink(missing_ok=True)
            else:
                self._files[file.name] = file.stat().st_size
                self._bytes += self._files[file.name]

    def waiting(self) -> list[str]:
        """Names of what is there, the oldest first."""
        with self._lock:
            return list(self._files)

    def put(self, about: dict[str, Any], body: bytes) -> tuple[str | None, list[str]]:
        """(its name, None if it can not be kept here; names of the oldest that had to go for it)."""
        whole = orjson.dumps(about) + b"\n" + body
        with self._lock:
            self._last_name = max(time.time_ns(), self._last_name + 1)
            name = f"{self._last_name:020d}"
        part = self._directory / (name + _UNFINISHED)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(whole)
            part.rename(self._directory / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            if not self._failing:
                log.warning(
                    "%s can not be written (%s); what waits is in memory only", self._directory, error
                )
            self._failing = True
            return None, []
        self._failing = False
        with self._lock:
            self._files[name] = len(whole)
            self._bytes += len(whole)
            too_old = []
            left = self._bytes
            for known, size in self._files.items():
                if left <= self._max_bytes:
                    break
                too_old.append(known)
                left -= size
        for known in too_old:
            self.drop(known)
        return name, too_old

    def read(self, name: str) -> tuple[dict[str, Any], bytes] | None:
        """What was put there; None if it is gone or is nothing of ours."""
        try:
            head, newline, body = (self._directory / name).read_bytes().partition(b"\n")
            about = orjson.loads(head)
        except (OSError, orjson.JSONDecodeError):
            return None
        return (about, body) if newline and isinstance(about, dict) else None

    def drop(self, name: str) -> None:
        with self._lock:
            self._bytes -= self._files.pop(name, 0)
        with contextlib.suppress(OSError):
            (self._directory / name).unlink(missing_ok=True)
