"""Who comes first where processors are short: those who answer clients.

Linux has a niceness for each thread. What takes telemetry keeps the one that it was started with: workers, and here the
event loop, journals, gRPC, and what starts workers anew. What works on batches and answers questions gives way:
it still gets a share of each processor, the smaller the larger its niceness is, and all that nobody else wants.

With workers these are all other threads. Without, only the engine's: a thread of Python that has no processor may have
Python's lock, for which the doors of this process wait.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Set
from pathlib import Path

from collector.config import Settings
from collector.process.repeating import Repeating

LOOK_EVERY_S = 1.0
LARGEST = 19
_THREADS = Path("/proc/self/task")
_OF_GRPC = ("grpc", "event_engine", "lifeguard")
"""How names of threads begin that gRPC makes without Python; some of them come later."""


def threads() -> Set[int]:
    """Those that this process has now, as the system numbers them; none where threads have no niceness of their own, or
    the system does not tell."""
    if sys.platform != "linux":
        return set()
    try:
        return {int(thread.name) for thread in _THREADS.iterdir()}
    except OSError:
        return set()


class GivingWay(Repeating):
    """Has threads that begin from now on give way, whoever begins them: the engine has dozens, and makes them as it
    needs them.

    Args:
        by: is added to the niceness that this thread has.
        python: whether threads of Python give way, too.
        every_s: seconds between two looks; a thread gives way once it was seen at two.
    """

    def __init__(self, by: int, *, python: bool, every_s: float = LOOK_EVERY_S) -> None:
        super().__init__("giving way", every_s)
        self._first = threads()
        self._seen: Set[int] = set()
        self._python = python
        self._niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + by, LARGEST)

    def start(self) -> None:
        if self._first:
            super().start()

    def look(self) -> None:
        # A thread that has only just begun is not known to Python yet.
        before, self._seen = self._seen, threads()
        for thread in (
            (before & self._seen) - self._first - (set() if self._python else _of_doors(self._seen))
        ):
            with contextlib.suppress(OSError):  # it has ended
                # Never back: only the superuser may.
                if os.getpriority(os.PRIO_PROCESS, thread) < self._niceness:
                    os.setpriority(os.PRIO_PROCESS, thread, self._niceness)


def _of_doors(running: Set[int]) -> Set[int]:
    """Threads of Python, and gRPC's own."""
    found = {thread.native_id for thread in threading.enumerate() if thread.native_id is not None}
    for thread in running - found:
        with contextlib.suppress(OSError):  # it has ended
            if (_THREADS / str(thread) / "comm").read_text().startswith(_OF_GRPC):
                found.add(thread)
    return found


def giving_way(settings: Settings) -> GivingWay | None:
    """What the settings ask for; None where it is off."""
    by = settings.service.niceness
    return GivingWay(by, python=settings.workers > 0) if by else None
