"""How much the journal may still take: its own bound, what the disk must keep free, and a reserve for a full disk."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)

HIGH, LOW = 0.95, 0.85
"""Shares of the bound at which requests are refused, and taken again: not at every record in turn."""
RESERVE_BYTES = 8 << 20
SHARE_OF_DISK = 64
"""The reserve is at most one part in this many of a small disk."""
LOOK_AGAIN_S = 0.2


class Room:
    """Decides whether a record may be appended.

    A file of `RESERVE_BYTES` is kept beside the segments. When the disk turns out to be full it is given up, so
    that the store has the space to take what waits; nothing is appended until it is back.

    Args:
        max_bytes: of records that wait; 0: no bound.
        min_free_bytes: what the disk must have free, but never more than a tenth of the disk.
    """

    def __init__(self, directory: Path, max_bytes: int, min_free_bytes: int) -> None:
        self._directory = directory
        self._reserve = directory / "reserve"
        self.bound(max_bytes, min_free_bytes)
        self._over = False
        self._without_reserve = False
        self._disk_says = ""
        self._lock = threading.Lock()

    def bound(self, max_bytes: int, min_free_bytes: int) -> None:
        """Other bounds from now on."""
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._looked_at = -LOOK_AGAIN_S

    def open(self) -> None:
        """Takes the reserve, if the disk has room for it."""
        self._without_reserve = not self._take_reserve()

    def is_over(self, waiting_bytes: int) -> bool:
        """Whether so much waits that something must go, or nothing can come."""
        return bool(self._max_bytes) and waiting_bytes >= self._max_bytes * HIGH

    def refusal(self, waiting_bytes: int) -> str:
        """Why nothing can be appended while `waiting_bytes` wait; "" if there is room."""
        if self._max_bytes:
            if self._over:
                self._over = waiting_bytes > self._max_bytes * LOW
            else:
                self._over = self.is_over(waiting_bytes)
            if self._over:
                return f"the journal holds {waiting_bytes} bytes that wait for the store"
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            with self._lock:
                self._looked_at = now
                self._disk_says = self._ask_disk()
        return self._disk_says

    def disk_is_full(self) -> None:
        """The disk refused a write: gives the reserve up for the store."""
        with self._lock:
            if not self._without_reserve:
                log.error(
                    "%s: the disk is full; nothing is taken until there is space again", self._directory
                )
            self._without_reserve = True
            self._drop_reserve()
            self._looked_at = -LOOK_AGAIN_S

    def _ask_disk(self) -> str:
        try:
            disk = os.statvfs(self._directory)
        except OSError as error:
            return f"the disk does not say what it has: {error.strerror}"
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        wanted = min(self._min_free_bytes, total // 10)
        if self._without_reserve:
            # As much again must be free: what was just given up is not enough to go on with.
            if free < wanted + 2 * self._reserve_bytes(total) or not self._take_reserve():
                return "the disk is full"
            self._without_reserve = False
            log.info("%s: there is space again", self._directory)
        if free < wanted:
            return f"the disk has {free} bytes free, and {wanted} are kept for the store"
        return ""

    def _take_reserve(self) -> bool:
        try:
            disk = os.statvfs(self._directory)
            size = self._reserve_bytes(disk.f_blocks * disk.f_frsize)
            descriptor = os.open(self._reserve, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            self._drop_reserve()
            return False
        return True

    def _drop_reserve(self) -> None:
        try:
            self._reserve.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s: the reserve can not be given up: %s", self._directory, error)

    @staticmethod
    def _reserve_bytes(total: int) -> int:
        return min(RESERVE_BYTES, total // SHARE_OF_DISK)
