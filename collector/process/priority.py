"""Who comes first where processors are short: with `workers`, those who answer clients.

Linux has a niceness for each thread. What takes telemetry keeps the one that it was started with: the workers, and here
the event loop, journals, and the threads that start workers anew. All else is what works on batches and answers
questions, the engine's threads among it, and gives way: it still gets a share of each processor, the smaller the
larger its niceness is, and all that nobody else wants.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Set
from pathlib import Path

from collector.config import Settings
from collector.process.repeating import Repeating

LOOK_EVERY_S = 1.0
LARGEST = 19
_THREADS = Path("/proc/self/task")


def threads() -> Set[int]:
    """Those that this process has now, as the system numbers them; none where threads have no niceness of their own."""
    return {int(thread.name) for thread in _THREADS.iterdir()} if sys.platform == "linux" else set()


class GivingWay(Repeating):
    """Has every thread that begins from now on give way, whoever begins it: the engine has a hundred, and makes them as
    it needs them.

    Args:
        by: is added to the niceness that this thread has.
        every_s: how long a new one may go without.
    """

    def __init__(self, by: int, *, every_s: float = LOOK_EVERY_S) -> None:
        super().__init__("giving way", every_s)
        self._first = threads()
        self._niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + by, LARGEST)

    def start(self) -> None:
        if self._first:
            super().start()

    def look(self) -> None:
        for thread in threads() - self._first:
            with contextlib.suppress(OSError):  # it has ended
                # Never back: only the superuser may.
                if os.getpriority(os.PRIO_PROCESS, thread) < self._niceness:
                    os.setpriority(os.PRIO_PROCESS, thread, self._niceness)


def giving_way(settings: Settings) -> GivingWay | None:
    """What the settings ask for; None without workers, whose doors would wait for Python's lock until a thread that has
    it gets a processor again."""
    return GivingWay(settings.service.niceness) if settings.workers and settings.service.niceness else None
