"""What can not be read is kept aside for whoever wants to look into it, as it was but for what is masked."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

QUARANTINE = "quarantine"
"""Its name within a journal."""
SKIPPED = b"~"
"""What takes the place of each byte that was skipped on request: no record begins like that."""
MAX_BYTES = 256 << 20
"""Kept in all; damage beyond that is counted and named in the log, and not copied."""


class Quarantine:
    """Files `SEGMENT-OFFSET.bad` in a directory of their own. `ranges` and `bytes` count this process's finds.

    Args:
        mask: takes out what must not stay; nothing is kept where it leaves nothing.
    """

    def __init__(self, directory: Path, mask: Callable[[bytes], bytes] = lambda damaged: damaged) -> None:
        self._directory = directory
        self.mask = mask
        self.ranges = 0
        self.bytes = 0

    def keep(self, segment: Path, begin: int, end: int) -> None:
        """Copies bytes of the segment. Raises nothing: failing to keep them must not stop the rest."""
        if is_skipped(segment, begin, end):
            log.info("%s: bytes %d to %d were skipped on request", segment.name, begin, end)
            return
        self.ranges += 1
        self.bytes += end - begin
        log.warning("%s: bytes %d to %d are no record and set aside", segment.name, begin, end)
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            kept = sum(file.stat().st_size for file in self._directory.iterdir())
            if kept + end - begin > MAX_BYTES:
                log.error("%s is full: the bytes are not kept", self._directory)
                return
            source = os.open(segment, os.O_RDONLY)
            try:
                content = self.mask(os.pread(source, end - begin, begin))
            finally:
                os.close(source)
            if not content:
                return
            target = self._directory / f"{segment.stem}-{begin}.bad"
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError as error:
            log.error("%s: not kept: %s", segment.name, error)

    def files(self) -> list[Path]:
        """What is kept, of earlier processes too."""
        return sorted(self._directory.glob("*.bad"))


def is_skipped(segment: Path, begin: int, end: int) -> bool:
    """Whether the bytes of the segment are those of records that somebody wanted passed over."""
    try:
        with segment.open("rb") as file:
            file.seek(begin)
            return not file.read(end - begin).strip(SKIPPED)
    except OSError:
        return False
