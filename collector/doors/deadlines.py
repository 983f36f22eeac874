"""Many waits of the same length with one timer of the event loop.

A timer of its own for each request is three handles that libuv opens and closes for it, and to close one the loop takes
Python's lock once more: while batches are worked on, each time it may wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Wait:
    """One wait; `expired` once its time was over."""

    __slots__ = ("_call", "_deadlines", "_until", "expired")

    def __init__(self, deadlines: Deadlines, until: float, call: Callable[[], object]) -> None:
        self._deadlines = deadlines
        self._until = until
        self._call = call
        self.expired = False

    def cancel(self) -> None:
        """It is over in time, or was before."""
        self._deadlines._waits.pop(self, None)


class Deadlines:
    """Waits of `seconds` each. Whoever waits longer has their callable called, once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waits: dict[Wait, None] = {}
        """Oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> Wait:
        """A wait from now on. All are on one event loop; what waits on one that has ended is forgotten."""
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            self._waits.clear()
        wait = Wait(self, loop.time() + self.seconds, call)
        self._waits[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(wait._until, self._look, loop)
        return wait

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends what is over, and looks again when the oldest of the others may be."""
        self._timer = None
        now = loop.time()
        for wait in [wait for wait in self._waits if wait._until <= now]:
            if wait in self._waits:  # the end of another may have ended it
                del self._waits[wait]
                wait.expired = True
                wait._call()
        if self._waits and self._timer is None:
            self._timer = loop.call_at(next(iter(self._waits))._until, self._look, loop)
