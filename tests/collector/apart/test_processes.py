"""Processes that map, and what those cost that do not do as they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import collector.apart.processes
from collector.apart.processes import MOST_DEATHS, Piece, Processes
from collector.apart.telling import Start, start_of
from collector.config import Settings
from collector.journal import Header, Record
from tests.collector.pipeline.test_pipeline import BODY, SPANS
from tests.waiting import PATIENCE_S, until

FAKES = "tests.collector.apart.fakes"


def start() -> Start:
    return start_of(Settings(), "")


def piece(processes: Processes) -> Piece:
    has_mark: Future[Any] = Future()
    has_mark.set_result([False])
    return Piece([Record(1, Header(1, items=SPANS), BODY)], has_mark, processes.generation)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pids(processes: Processes) -> list[int]:
    return [process.pid for process in processes._running.values() if process is not None]


@pytest.fixture
def faking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Processes]]:
    """Processes that do what they are told instead of mapping."""
    monkeypatch.setattr(collector.apart.processes, "PROGRAM", FAKES)
    monkeypatch.setattr(collector.apart.processes, "FIRST_PAUSE_S", 0.001)
    made: list[Processes] = []

    def fake(does: str, **options: Any) -> Processes:
        monkeypatch.setenv("MAPPING_FAKE", does)
        made.append(Processes(1, start, **options))
        return made[-1]

    yield fake
    for processes in made:
        processes.close()


@pytest.mark.parametrize(
    ("does", "fault"),
    [
        ("dies", "died"),
        ("hangs", "hung"),
        ("fails", "failed"),
        ("says too little", "garbled"),
        ("says nonsense", "garbled"),
        ("says a long frame", "garbled"),
        ("says no values", "garbled"),
        ("sends half", "died"),
    ],
)
def test_what_a_process_does_not_answer_is_for_the_collector(
    faking: Callable[..., Processes], does: str, fault: str
) -> None:
    processes = faking(does, answer_s=0.2)
    until(processes.are_ready)
    [pid] = pids(processes)
    asked = piece(processes)
    processes.ask(asked)
    assert asked.answer.result(PATIENCE_S) is None
    assert processes.faults == {fault: 1}
    assert processes.spans == 0
    if fault != "failed":
        until(lambda: ended(pid))
        until(processes.are_ready)  # another takes its place
        assert pids(processes) != [pid]


def test_when_many_die_in_a_row_the_collector_does_without(faking: Callable[..., Processes]) -> None:
    processes = faking("refuses")
    until(lambda: not processes.are_ready() and processes._deaths == MOST_DEATHS)
    until(lambda: not processes.alive)
    assert not processes.are_ready()
    assert processes.alive == 0
    processes.renew(1)  # other settings may be better
    processes.are_ready()
    assert processes.alive == 1


def test_pieces_that_wait_when_the_last_one_dies_are_for_the_collector(
    faking: Callable[..., Processes],
) -> None:
    processes = faking("dies")
    until(processes.are_ready)
    asked = [piece(processes) for _ in range(3)]
    for one in asked:
        processes.ask(one)
    assert [one.answer.result(PATIENCE_S) for one in asked] == [None] * 3


def test_without_processes_nobody_is_ever_ready() -> None:
    processes = Processes(0, start)
    assert not processes.are_ready()
    asked = piece(processes)
    processes.ask(asked)
    assert asked.answer.result(0) is None
    processes.close()


def test_a_process_ends_when_there_is_no_work_for_a_while_and_begins_with_the_next(
    faking: Callable[..., Processes],
) -> None:
    processes = faking("fails", idle_s=0.05)
    until(processes.are_ready)
    [pid] = pids(processes)
    until(lambda: processes.alive == 0)
    assert ended(pid)
    until(processes.are_ready)


def test_other_settings_are_for_other_processes(faking: Callable[..., Processes]) -> None:
    processes = faking("fails")
    until(processes.are_ready)
    [pid] = pids(processes)
    old = piece(processes)
    processes.renew(2)
    processes.ask(old)
    assert old.answer.result(0) is None
    until(lambda: ended(pid))
    until(lambda: processes.are_ready() and processes.alive == 2)


def test_closing_ends_a_process_that_is_at_work(
    faking: Callable[..., Processes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.apart.processes, "END_S", 0.1)
    processes = faking("hangs")
    until(processes.are_ready)
    [pid] = pids(processes)
    asked = piece(processes)
    processes.ask(asked)
    processes.close()
    assert asked.answer.result(0) is None
    assert ended(pid)
    assert not processes.are_ready()


PARENT = """
import socket, time
from collector.process.spawning import spawned
ours, theirs = socket.socketpair()
process = spawned("collector.apart.process", [theirs.fileno()])
theirs.close()
print(process.pid, flush=True)
time.sleep(60)
"""


def test_when_the_collector_is_killed_nothing_is_left() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not ended(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until(lambda: ended(pid))


def test_threads_of_processes_that_ended_are_gone(faking: Callable[..., Processes]) -> None:
    processes = faking("fails", idle_s=0.02)
    until(processes.are_ready)
    until(lambda: processes.alive == 0)
    until(lambda: all(thread.name != "mapping" for thread in threading.enumerate()))
