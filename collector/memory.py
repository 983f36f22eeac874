"""How much memory requests on their way in may take together, by their bytes: counting requests bounds nothing."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SMALLEST_BUDGET = 64 << 20
INFLIGHT_SHARE = 0.25
LOOK_EVERY_S = 1.0
ROOM_AGAIN = 0.93
"""Of the mark at which requests are refused: below this they are taken again."""
_CGROUP_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_STATM = Path("/proc/self/statm")


def available_bytes() -> int:
    """What this process may use: its cgroup's limit, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _CGROUP_FILES:
        try:
            return min(int(file.read_text()), machine)
        except (OSError, ValueError):  # no cgroup, or "max"
            continue
    return machine


def resident_bytes() -> int:
    """What this process uses; 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@dataclass(slots=True)
class Reservation:
    """Bytes held of a budget. Releasing it again does nothing."""

    budget: Budget
    size: int = 0

    def grow_to(self, size: int) -> bool:
        """Holds `size` bytes if there is room; False if not, and then it holds what it held."""
        if size <= self.size:
            return True
        if not self.budget.take(size - self.size, first=not self.size):
            return False
        self.size = size
        return True

    def release(self) -> None:
        size, self.size = self.size, 0
        if size:
            self.budget.give_back(size)


class Budget:
    """Bytes that all requests on their way share.

    Args:
        inflight_bytes: for requests from their first byte to the journal; one larger than that is taken if it is alone.
        resident_bytes: of the whole process; above, nothing new is begun until there is room again. 0: no such mark.
    """

    def __init__(self, inflight_bytes: int, resident_mark: int = 0) -> None:
        self.inflight_bytes = inflight_bytes
        self._resident_mark = resident_mark
        self._taken = 0
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._pressed = False

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, size: int, *, first: bool) -> bool:
        """Takes `size` bytes; False if there is no room.

        Args:
            first: for a new request, which is not begun while the process is short of memory.
        """
        if first and self._resident_mark and self._is_pressed():
            return False
        with self._lock:
            if self._taken and self._taken + size > self.inflight_bytes:
                return False
            self._taken += size
        return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._taken -= size

    def _is_pressed(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            mark = self._resident_mark * (ROOM_AGAIN if self._pressed else 1)
            self._pressed = resident_bytes() > mark
        return self._pressed
