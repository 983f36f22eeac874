"""Threads that give way, and those that keep the niceness that they have."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from collector.config import Settings
from collector.config.settings import ServiceSettings
from collector.process.priority import GivingWay, giving_way


def niceness(of: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, of)


class Threads:
    """Each waits until it is asked for its niceness, and may begin another."""

    def __init__(self) -> None:
        self._asked: list[queue.SimpleQueue[Callable[[], object] | None]] = []
        self._answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def begin(self) -> int:
        asked: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._asked.append(asked)
        thread = threading.Thread(target=self._run, args=(asked,))
        thread.start()
        return len(self._asked) - 1

    def does(self, number: int, what: Callable[[], object]) -> object:
        self._asked[number].put(what)
        return self._answers.get()

    def _run(self, asked: queue.SimpleQueue[Callable[[], object] | None]) -> None:
        while (what := asked.get()) is not None:
            self._answers.put(what())

    def end(self) -> None:
        for asked in self._asked:
            asked.put(None)


def test_threads_that_begin_later_give_way_and_all_that_they_begin() -> None:
    own = niceness()
    threads = Threads()
    try:
        before = threads.begin()
        way = GivingWay(3)
        after = threads.begin()
        way.look()
        way.look()  # once is enough
        begun = threads.does(after, threads.begin)
        assert isinstance(begun, int)
        assert [threads.does(each, niceness) for each in (before, after, begun)] == [own, own + 3, own + 3]
        assert niceness() == own
    finally:
        threads.end()


def test_a_thread_that_is_lower_already_stays_where_it_is() -> None:
    threads = Threads()
    try:
        way = GivingWay(3)
        low = threads.begin()
        threads.does(low, lambda: os.setpriority(os.PRIO_PROCESS, 0, niceness() + 5))
        way.look()
        assert threads.does(low, niceness) == niceness() + 5
    finally:
        threads.end()


def test_nobody_gives_way_without_workers_or_where_it_is_off() -> None:
    assert giving_way(Settings(workers=1)) is not None
    assert giving_way(Settings()) is None
    assert giving_way(Settings(workers=1, service=ServiceSettings(niceness=0))) is None
