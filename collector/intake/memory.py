"""How much memory requests on their way in may take together, by their bytes: counting requests bounds nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SMALLEST_BUDGET = 64 << 20
INFLIGHT_SHARE = 0.25
LOOK_EVERY_S = 1.0
ROOM_AGAIN = 0.93
"""Of a mark: below this it holds no more."""
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_PROCESSES = Path("/proc")


def available_bytes() -> int:
    """What this process may use: the least that its cgroups allow, which lie within each other, else the machine's
    memory. A container is in the outermost that it sees, a unit of systemd in one within."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _limits():
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            least = min(least, int(file.read_text()))
    return least


def _limits() -> Iterator[Path]:
    """Files that may say what this process may use, of both versions of cgroups."""
    yield _CGROUPS / "memory.max"
    yield _CGROUPS / "memory/memory.limit_in_bytes"
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:  # hierarchy:controllers:/path
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        inner = root / path.strip("/")
        yield from (place / name for place in (inner, *inner.parents) if place.is_relative_to(root))


def peak_bytes() -> int:
    """The most that this process has used."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes(process: int | str = "self") -> int:
    """What a process uses; 0 where the system does not say."""
    try:
        pages = int((_PROCESSES / str(process) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


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
        refuse_bytes: of the whole collector; above, nothing new is begun until there is room again. 0: no such mark.
        shed_bytes: above, what has begun gets no more either, and `shed` is called. 0: no such mark.
    """

    def __init__(self, inflight_bytes: int, refuse_bytes: int = 0, shed_bytes: int = 0) -> None:
        self.bound(inflight_bytes, refuse_bytes, shed_bytes)
        self._taken = 0
        self._lock = threading.Lock()
        self._looked_at = -LOOK_EVERY_S
        self._refuses = self._sheds = False
        self.used: Callable[[], int] = resident_bytes
        """What the collector uses, all of its processes."""
        self.shed: list[Callable[[], object]] = []
        """Let go of what nobody needs. May be called from any thread, and must neither fail nor wait."""

    def bound(self, inflight_bytes: int, refuse_bytes: int = 0, shed_bytes: int = 0) -> None:
        """Other bounds from now on."""
        self.inflight_bytes = inflight_bytes
        self._refuse_bytes = refuse_bytes
        self._shed_bytes = shed_bytes

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, size: int, *, first: bool) -> bool:
        """Takes `size` bytes; False if there is no room.

        Args:
            first: for a new request, which is not begun while memory is short.
        """
        if self._refuse_bytes:
            self._look()
            if self._sheds or (first and self._refuses):
                return False
        with self._lock:
            if self._taken and self._taken + size > self.inflight_bytes:
                return False
            self._taken += size
        return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._taken -= size

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        used, shed_before = self.used(), self._sheds
        self._refuses = used > self._refuse_bytes * (ROOM_AGAIN if self._refuses else 1)
        self._sheds = bool(self._shed_bytes) and used > self._shed_bytes * (ROOM_AGAIN if shed_before else 1)
        if self._sheds:
            if not shed_before:
                log.error("memory is short: %d bytes are used; requests that have begun are refused", used)
            for let_go in self.shed:
                let_go()
