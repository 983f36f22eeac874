"""Waits that share a timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collector.doors.deadlines import Deadlines


class Loop:
    """An event loop's clock and timers, as far as waits ask for them; time passes when it is told."""

    def __init__(self) -> None:
        self._now = 100.0
        self._timers: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, call: Callable[..., object], *arguments: Any) -> object:
        self._timers.append((when, call, arguments))
        return call

    def passes(self, seconds: float) -> None:
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self._timers.remove(timer)
            self._now = timer[0]
            timer[1](*timer[2])
        self._now = end


def test_a_wait_is_over_after_its_time_and_no_other_is() -> None:
    loop: Any = Loop()
    deadlines = Deadlines(5)
    ended: list[str] = []
    first = deadlines.begin(loop, lambda: ended.append("first"))
    deadlines.begin(loop, lambda: ended.append("cancelled")).cancel()
    loop.passes(3)
    second = deadlines.begin(loop, lambda: ended.append("second"))
    assert ended == []
    loop.passes(3)
    assert (ended, first.expired, second.expired) == (["first"], True, False)
    loop.passes(4)
    assert (ended, second.expired) == (["first", "second"], True)
    second.cancel()


def test_a_wait_may_end_or_begin_others() -> None:
    loop: Any = Loop()
    deadlines = Deadlines(1)
    ended: list[str] = []
    later = []

    def first() -> None:
        ended.append("first")
        second.cancel()
        later.append(deadlines.begin(loop, lambda: ended.append("third")))

    deadlines.begin(loop, first)
    second = deadlines.begin(loop, lambda: ended.append("second"))
    loop.passes(5)
    assert ended == ["first", "third"]
    assert later[0].expired
