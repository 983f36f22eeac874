"""Threads that give way, and those that keep the niceness that they have."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from collector.config import Settings
from collector.config.settings import ServiceSettings
from collector.process.priority import GivingWay, giving_way
from tests.server import Server
from tests.waiting import until


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
        way = GivingWay(3, python=True)
        after = threads.begin()
        for _ in range(3):
            way.look()
        begun = threads.does(after, threads.begin)
        assert isinstance(begun, int)
        assert [threads.does(each, niceness) for each in (before, after, begun)] == [own, own + 3, own + 3]
        assert niceness() == own
    finally:
        threads.end()


def test_a_thread_that_is_lower_already_stays_where_it_is() -> None:
    threads = Threads()
    try:
        way = GivingWay(3, python=True)
        low = threads.begin()
        threads.does(low, lambda: os.setpriority(os.PRIO_PROCESS, 0, niceness() + 5))
        for _ in range(2):
            way.look()
        assert threads.does(low, niceness) == niceness() + 5
    finally:
        threads.end()


def test_threads_of_python_do_not_give_way_where_doors_share_it() -> None:
    threads = Threads()
    try:
        way = GivingWay(3, python=False)
        begun = threads.begin()
        for _ in range(2):
            way.look()
        assert threads.does(begun, niceness) == niceness()
    finally:
        threads.end()


def test_nobody_gives_way_where_it_is_off() -> None:
    assert giving_way(Settings(workers=1)) is not None
    assert giving_way(Settings()) is not None
    assert giving_way(Settings(workers=1, service=ServiceSettings(niceness=0))) is None
    assert giving_way(Settings(service=ServiceSettings(niceness=0))) is None


def test_without_workers_the_engine_gives_way_and_nothing_else(server: Server) -> None:
    own, pid = niceness(server.process.pid), server.process.pid

    def names(that_give_way: bool) -> set[str]:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return {
            (task / "comm").read_text().strip()
            for task in tasks
            if (niceness(int(task.name)) == own + 10) is that_give_way
        }

    until(lambda: "MergeMutate" in names(True))  # one of the engine's
    assert not {"event_engine", "grpc_global_tim"} & names(True)
    assert "python" in names(False)
