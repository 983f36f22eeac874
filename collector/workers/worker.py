"""The process of a worker: the doors of OTLP, the intake and journals of its own.

It ends when it is told to, and at once when who started it is gone: signals are for that one alone.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection

from collector.config import ConfigError, Settings
from collector.config.reload import Reloadable
from collector.doors.accepting import Shares
from collector.doors.keys import Keys
from collector.doors.listening import ListenError
from collector.intake.intake import Intake, Submission
from collector.intake.memory import resident_bytes
from collector.journal import Journal, Teller
from collector.journal.places import SIGNALS, directory_of, share_of
from collector.process.exits import EX_UNAVAILABLE, ServiceError
from collector.process.interpreter import (
    calm_garbage_collection,
    cpu_seconds,
    event_loop,
    take_short_turns,
    watch_loop,
)
from collector.process.stacks import stacks
from collector.receivers.opening import open_intake
from collector.receiving import open_debts, open_doors, open_journal, open_keys, take_over
from collector.telemetry.operations import Operations
from collector.telemetry.telemetry import Health, configure_logging
from collector.telemetry.tracing import Tracer
from collector.workers.messages import (
    Ask,
    Explain,
    Explained,
    Failed,
    GivenUp,
    Kept,
    Leave,
    Line,
    Opened,
    Refuse,
    Renewed,
    Start,
    Stop,
    Stored,
    Told,
)

log = logging.getLogger(__name__)

TELL_EVERY_S = 0.02
"""What is acknowledged is told at once, but no more often than this."""
TELL_ANYWAY_S = 0.5
KEEP_S = 5.0
"""Longest wait for a request that is given up to be kept."""


class Worker:
    """What a worker hears and tells.

    Args:
        stop: called when it is to end.
    """

    def __init__(
        self,
        line: Line,
        stop: Callable[[], object],
        journals: Mapping[str, Journal],
        intake: Intake,
        keys: Keys,
        health: Health,
        reloadable: Reloadable,
        tracer: Tracer,
    ) -> None:
        self._line = line
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._keys = keys
        self._journals = journals
        self._intake = intake
        self._health = health
        self._reloadable = reloadable
        self._tracer = tracer
        self._tellers = {
            name: Teller(journal, partial(intake.stats.accepted, name)) for name, journal in journals.items()
        }
        self._openings = {name: teller.opening() for name, teller in self._tellers.items()}
        self._telling = threading.Lock()
        self._asked = 0
        self._news, self._urgent = threading.Event(), threading.Event()
        self._news.set()
        self._loop_lags: list[float] = []
        self._answers: dict[int, Future[str]] = {}
        self._numbers = itertools.count()
        intake.counted = self._news.set
        intake.given_up = self._give_up

    def open(self) -> None:
        """Says that the doors are open, then hears and tells in threads of its own."""
        self._line.say(Opened(self._openings))
        for task in (self._hear, self._tell):
            threading.Thread(target=_all_or_nothing, args=(task,), name=task.__name__, daemon=True).start()

    def note_lag(self, seconds: float) -> None:
        self._loop_lags.append(seconds)

    def tell(self) -> None:
        """How it is now."""
        with self._telling:
            # Before all else: then what was taken until it refused is in what follows.
            refuses = self._intake.draining and not self._intake.budget.taken
            lags, self._loop_lags = self._loop_lags, []
            told = Told(
                {name: teller.progress() for name, teller in self._tellers.items()},
                self._intake.seen(),
                self._intake.gate.failures,
                self._keys.uses(),
                self._intake.budget.taken,
                cpu_seconds(),
                resident_bytes(),
                self._tracer.counted,
                tuple(lags),
                self._asked,
                refuses,
            )
            self._line.say(told)

    def _tell(self) -> None:
        while True:
            self._news.wait(TELL_ANYWAY_S)
            self._news.clear()
            self.tell()
            self._urgent.wait(TELL_EVERY_S)
            self._urgent.clear()

    def _tell_at_once(self) -> None:
        self._urgent.set()
        self._news.set()

    def _hear(self) -> None:
        """Never waits to be heard: the collector may be waiting until it is."""
        try:
            while True:
                match self._line.hear():
                    case Stored(name, reached):
                        journal = self._journals[name]
                        journal.reached(reached.places, passed=reached.passed)
                        if reached.largest_segment:
                            journal.keep_segments_below(reached.largest_segment)
                        if reached.rotate:
                            journal.rotate()
                    case Ask(number):
                        self._asked = number
                        self._tell_at_once()
                    case Explain(number):
                        self._line.say(
                            Explained(number, os.getpid(), self._intake.operations.document(), stacks())
                        )
                    case Renewed(settings):
                        self._loop.call_soon_threadsafe(self._renew, settings)
                    case Leave():
                        self._health.leave()
                    case Refuse():
                        self._intake.draining = True
                        self._tell_at_once()
                    case Stop():
                        self._loop.call_soon_threadsafe(self._stop)
                    case Kept(number, error):
                        if answer := self._answers.pop(number, None):
                            answer.set_result(error)
        except EOFError:
            os._exit(0)  # what was acknowledged is in the journals

    def _renew(self, settings: Settings) -> None:
        try:
            self._reloadable.renew(settings)
        except ConfigError as error:  # the collector would not have sent it
            log.error("the old configuration stays: %s", error)

    def _give_up(self, request: Submission, reason: str) -> None:
        """Raises: OSError."""
        number, answer = next(self._numbers), Future[str]()
        self._answers[number] = answer
        # The memory that is held for it stays here.
        self._line.say(GivenUp(number, replace(request, reservation=None), reason))
        try:
            error = answer.result(KEEP_S)
        except TimeoutError:
            error = "the collector does not answer"
        finally:
            self._answers.pop(number, None)
        if error:
            raise OSError(error)


def _all_or_nothing(task: Callable[[], None]) -> None:
    """A worker that does not hear, or does not tell, is none: another takes its place."""
    try:
        task()
    except Exception:
        log.exception("a worker ends")
        os._exit(1)


async def serve(line: Line, start: Start, listener: socket.socket | None, shares: Shares) -> None:
    """Runs the worker until it is told to end.

    Raises: ServiceError.
    """
    settings = start.settings
    stopping = asyncio.Event()
    async with AsyncExitStack() as parts:
        journals = {
            name: open_journal(
                settings,
                directory_of(settings.data_dir, start.number, name),
                parts,
                max_bytes=share_of(settings.journal.max_bytes, start.of),
                followed=True,
            )
            for name in SIGNALS
        }
        keys, gate = open_keys(settings, start.token, look_every_s=0)
        debts, operations = open_debts(settings, parts), Operations()
        intake = open_intake(settings, journals, gate, debts, operations, processes=start.of)
        # Workers use about the same.
        intake.budget.used = lambda: resident_bytes(os.getppid()) + start.of * resident_bytes()
        reloadable, health = Reloadable(settings), Health()
        reloadable.tell(
            lambda changed: take_over(changed, intake, keys, journals, journals, processes=start.of)
        )
        tracer = Tracer(operations, f"worker {start.number}", start.instance_id)
        reloadable.tell(tracer.take_over)
        worker = Worker(line, stopping.set, journals, intake, keys, health, reloadable, tracer)
        try:
            await open_doors(
                settings,
                intake,
                reloadable,
                health,
                parts,
                grpc=start.grpc,
                http=start.http,
                listener=listener,
                shares=shares,
                shares_port=True,
            )
        except ListenError as error:
            raise ServiceError(str(error), EX_UNAVAILABLE) from None
        worker.open()
        tracer.take_over(settings)
        lag = asyncio.create_task(watch_loop(worker.note_lag), name="loop-lag")
        parts.callback(lag.cancel)
        calm_garbage_collection()
        await stopping.wait()
    worker.tell()
    tracer.close()


def main() -> None:
    """`python -m collector.workers.worker LINE LISTENER SHARES`: descriptors, LISTENER -1 if there is none."""
    gc.disable()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = Line(Connection(int(sys.argv[1])))
    descriptor, shares = map(int, sys.argv[2:])
    listener = socket.socket(fileno=descriptor) if descriptor >= 0 else None
    try:
        start = line.hear()
    except EOFError:
        return
    configure_logging(start.settings.service.telemetry.log_level)
    take_short_turns()
    try:
        event_loop()(serve(line, start, listener, Shares(shares, start.number - 1)))
    except ServiceError as error:
        line.say(Failed(str(error), error.exit_code))


if __name__ == "__main__":
    main()
