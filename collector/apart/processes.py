"""The processes that map: started when somebody has work for them, heard, ended when there is none for a while."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from collector.apart.line import GarbledError, Line
from collector.apart.telling import READY, Answer, Start, read_answer, work_of
from collector.intake.memory import resident_bytes
from collector.journal import Record
from collector.process.cores import usable_cores
from collector.process.spawning import spawned

log = logging.getLogger(__name__)

PROGRAM = "collector.apart.process"
MOST_BY_DEFAULT = 4
IDLE_S = 120.0
"""Without work for so long a process ends, and its memory is given back."""
START_S = 60.0
"""Longest wait for a process on a machine that is busy."""
ANSWER_S = 60.0
"""Longest wait for an answer: a hundred times what a large piece takes."""
END_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Between the death of a process and the next start: the longer, the more died in a row."""
MOST_DEATHS = 5
"""In a row: then all is mapped in the collector, until its configuration is loaded anew."""


def usual_count() -> int:
    """One for each core beside that of the collector itself; none where a process can not be given a socket."""
    if sys.platform == "win32":
        return 0
    return min(usable_cores() - 1, MOST_BY_DEFAULT)


class Piece:
    """Records of a batch, so many as are answered at once."""

    def __init__(self, records: Sequence[Record], has_mark: Future[Sequence[Any]], generation: int) -> None:
        self.records = records
        self.has_mark = has_mark
        """Which of the records may hold a secret."""
        self.generation = generation
        """Of the settings that held when it was asked for."""
        self.answer: Future[Answer | None] = Future()
        """What a process says to it. None: it is to be mapped here. Cancelled: it is, as no process had begun it."""

    def answered(self, answer: Answer) -> None:
        """Takes a process's answer, and lets go of bodies but those of records that it does not tell. With those of all
        that is mapped ahead the memory of a whole batch would be held."""
        outcome = answer.outcome
        self.records = [
            record if fault or request is None else replace(record, body=b"")
            for record, fault, request in zip(self.records, outcome.faults, outcome.requests, strict=True)
        ]
        self.answer.set_result(answer)

    @property
    def spans(self) -> int:
        return sum(record.header.items for record in self.records)


class Processes:
    """All of them. Each has a thread here as long as it lives.

    Args:
        most: so many at a time; with 0 there are never any. None: what is usual on this machine.
        start: gives what a process is told first.
    """

    def __init__(
        self,
        most: int | None,
        start: Callable[[], Start],
        *,
        idle_s: float = IDLE_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.most = usual_count() if most is None else most
        self.generation = 0
        """Grows when other settings hold."""
        self.faults: Counter[str] = Counter()
        """Why pieces had to be mapped in the collector: `died`, `hung`, `garbled`, `failed`."""
        self.spans = 0
        """That were mapped elsewhere."""
        self.cpu_s = 0.0
        """What all that there were have used of the processor."""
        self._start = start
        self._idle_s, self._answer_s = idle_s, answer_s
        self._changing = threading.Lock()
        self._waiting: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        """None: look whether you are still wanted."""
        self._running: dict[threading.Thread, subprocess.Popen[bytes] | None] = {}
        self._ready = 0
        self._deaths = 0
        """In a row."""
        self._not_before = 0.0
        self._closed = False

    @property
    def alive(self) -> int:
        """How many there are now."""
        return len(self._running)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in list(self._running.values()) if process is not None]

    @property
    def resident_bytes(self) -> int:
        """What they use of memory."""
        running = list(self._running.values())
        return sum(resident_bytes(process.pid) for process in running if process is not None)

    def document(self) -> dict[str, Any]:
        """What the status says."""
        return {
            "processes": self.alive,
            "most": self.most,
            "spans": self.spans,
            "faults": dict(self.faults),
        }

    def are_ready(self) -> bool:
        """Whether there is one to ask. If not they are started, and whoever asks does without for now."""
        with self._changing:
            if self._closed or self._deaths >= MOST_DEATHS:
                return False
            while len(self._running) < self.most and time.monotonic() >= self._not_before:
                thread = threading.Thread(target=self._run, name="mapping", args=(self.generation,))
                self._running[thread] = None
                thread.start()
            return self._ready > 0

    def ask(self, piece: Piece) -> None:
        with self._changing:
            if self._ready and piece.generation == self.generation and not self._closed:
                self._waiting.put(piece)
                return
        piece.answer.set_result(None)

    def renew(self, most: int | None) -> None:
        """Other settings hold: processes that know of the old ones end."""
        with self._changing:
            self.most = usual_count() if most is None else most
            self.generation += 1
            self._deaths, self._not_before = 0, 0.0
            self._wake()

    def close(self) -> None:
        """Ends them all."""
        with self._changing:
            self._closed = True
            self._wake()
            running = dict(self._running)
        deadline = time.monotonic() + END_S
        for thread, process in running.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive() and process is not None:
                process.kill()
                thread.join()

    def _wake(self) -> None:
        for _ in self._running:
            self._waiting.put(None)

    # ------------------------------------------------------------------- one process

    def _run(self, generation: int) -> None:
        try:
            self._attend(generation)
        except Exception as error:
            known = isinstance(error, (EOFError, OSError, GarbledError))
            log.error(
                "a process that maps is given up: %s", str(error) or type(error).__name__, exc_info=not known
            )
            with self._changing:
                self._not_before = time.monotonic() + min(FIRST_PAUSE_S * 2**self._deaths, LONGEST_PAUSE_S)
                self._deaths += 1
                if self._deaths == MOST_DEATHS:
                    log.error("%d in a row: from now on all is mapped in the collector", MOST_DEATHS)
        finally:
            with self._changing:
                del self._running[threading.current_thread()]

    def _attend(self, generation: int) -> None:
        """Raises: EOFError, OSError, GarbledError: the process is not as it should be."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = spawned(PROGRAM, [theirs.fileno()])
            self._running[threading.current_thread()] = process
            try:
                ours.settimeout(START_S)
                line = Line(ours)
                line.say(tuple(self._start()))
                if (said := line.hear()) != READY:
                    raise GarbledError(f"it can not begin: {said}")
                ours.settimeout(self._answer_s)
                self._serve(line, generation)
            except BaseException:
                process.kill()
                raise
            finally:
                ours.close()  # this is what it ends by
                _ended(process)

    def _serve(self, line: Line, generation: int) -> None:
        """Has pieces answered until there are none for a while, or other settings hold.

        Raises: EOFError, OSError, GarbledError.
        """
        with self._changing:
            self._ready += 1
        try:
            while (piece := self._next(generation)) is not None:
                self._answer(line, piece)
        finally:
            with self._changing:
                self._ready -= 1
                if not self._ready:
                    self._give_back()

    def _next(self, generation: int) -> Piece | None:
        while generation == self.generation and not self._closed:
            try:
                piece = self._waiting.get(timeout=self._idle_s)
            except queue.Empty:
                return None
            if piece is None or not piece.answer.set_running_or_notify_cancel():
                continue
            if piece.generation == generation:
                return piece
            piece.answer.set_result(None)
        return None

    def _give_back(self) -> None:
        """What nobody is there to answer."""
        with contextlib.suppress(queue.Empty):
            while True:
                piece = self._waiting.get_nowait()
                if piece is not None and piece.answer.set_running_or_notify_cancel():
                    piece.answer.set_result(None)

    def _answer(self, line: Line, piece: Piece) -> None:
        """Raises: EOFError, OSError, GarbledError."""
        answer, fault = None, ""
        try:
            line.say(work_of(piece.records, piece.has_mark.result()))
            said = line.hear()
            if isinstance(said, str):
                fault = "failed"
            else:
                answer = read_answer(said, len(piece.records))
        except TimeoutError:
            fault = "hung"
            raise
        except (EOFError, OSError):
            fault = "died"
            raise
        except Exception as error:
            fault = "garbled"
            raise GarbledError(f"{type(error).__name__}: {error}") from error
        finally:
            if answer is None:
                self.faults[fault] += 1
                piece.answer.set_result(None)
            else:
                self._deaths = 0
                self.spans += piece.spans
                self.cpu_s += answer.cpu_s
                piece.answered(answer)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        log.warning("a process that maps does not end and is killed")
        process.kill()
        process.wait()
