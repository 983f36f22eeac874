"""The workers of a collector: started, heard, started again when one dies, ended last."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing.connection import Connection
from typing import IO, Any

from collector.config import Settings
from collector.doors.accepting import Shares
from collector.doors.keys import Keys
from collector.doors.listening import REQUEST_GRACE_S, UNIX, ListenError, bound, host_of, url_of
from collector.intake.counted import IntakeStats
from collector.intake.intake import Submission
from collector.journal import Followed, Reached
from collector.journal.places import SIGNALS, directory_of, lane
from collector.pipeline.redaction import masking
from collector.process.exits import EX_UNAVAILABLE, ServiceError
from collector.process.spawning import spawned
from collector.telemetry.tracing import Counted
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

PROGRAM = "collector.workers.worker"
START_S = 60.0
"""Longest wait for a worker at the start of the collector, on a machine that is busy."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Between the end of a worker and its next start: the longer, the more often it ended soon."""
SOON_S = 10.0
ANSWER_S = 2.0
"""Longest wait for a worker to tell how it is."""
REFUSE_S = 5.0
"""Longest wait for requests that a worker has begun to take."""
END_S = REQUEST_GRACE_S + 5.0
PATIENCE_S = 2.0
"""Longest wait for a port: the workers of a collector that was killed take a moment to notice."""


class Hand:
    """One worker, whichever process it is by now.

    Args:
        listener: the socket that it takes connections from; None if that door is off.
        shares: how many connections each has, see `Shares`.
        first: gives what a new process is told first.
        keep: keeps a request that can not be read. Raises: OSError: it is not kept.
        keys: are told when they were used.
        follow: opens the journal of a signal that it writes, given what is to be told of what is stored.
    """

    def __init__(
        self,
        number: int,
        listener: socket.socket | None,
        shares: IO[bytes],
        first: Callable[[], Sequence[object]],
        keep: Callable[[Submission, str], None],
        keys: Keys,
        follow: Callable[[str, Callable[[Reached], None]], Followed],
    ) -> None:
        self.number = number
        self.journals = {signal: follow(signal, partial(self._stored, signal)) for signal in SIGNALS}
        self._first = first
        self._keep = keep
        self._keys = keys
        self.opened: Future[None] = Future()
        """Done when its doors are open for the first time. Raises: ServiceError."""
        self._told_anew = threading.Condition()
        self._listener = listener
        self._shares_file = shares
        self._shares = Shares(shares.fileno())
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None
        self._told: Told | None = None
        self._explained: Explained | None = None
        self._ended = IntakeStats()
        """What processes that are no more had counted."""
        self._failures = 0
        """Requests without a key that holds, that these had seen."""
        self._cpu_seconds = 0.0
        """What these had used of the processor."""
        self._own_traces = Counted()
        """What became of operations that these were to tell."""
        self.loop_lag: Callable[[float], None] = lambda seconds: None
        """Told how late its event loop is, twice a second. Must neither fail nor wait."""
        self._questions = itertools.count(1)
        self._asked = 0
        self._refuses = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}")

    def begin(self) -> None:
        self._thread.start()

    def say(self, message: object) -> None:
        """To the process that there is; the next one needs not hear it."""
        if self._line is not None:
            self._line.say(message)

    def refuse(self) -> None:
        """From now on nothing is taken; when this returns, all that was is known."""
        self._refuses = True
        self.say(Refuse())
        if not self._await(lambda told: told.refuses, REFUSE_S):
            log.warning("worker %d still has requests on their way in", self.number)

    def ask(self) -> int:
        """Has it tell how it is; returns the number of the question."""
        self._asked = number = next(self._questions)
        self.say(Ask(number))
        return number

    def explain(self) -> int:
        """Has it say what it is at; returns the number of the question."""
        number = next(self._questions)
        self.say(Explain(number))
        return number

    def explained(self, number: int) -> Explained | None:
        """Its answer to that question, or a later one; None if there is none soon."""
        with self._told_anew:
            self._told_anew.wait_for(lambda: self._explained_since(number), ANSWER_S)
        return self._explained if self._explained_since(number) else None

    def _explained_since(self, number: int) -> bool:
        return self._explained is not None and self._explained.number >= number

    def document(self) -> dict[str, Any]:
        """How it is."""
        return {
            "number": self.number,
            "pid": self._process.pid if self._process is not None else None,
            "connected": self._told is not None,
            "inflight_bytes": self.inflight_bytes,
            "resident_bytes": self.resident_bytes,
            "cpu_seconds": round(self.cpu_seconds, 3),
            "auth_failures": self.auth_failures,
        }

    @property
    def own_traces(self) -> Counted:
        """What became of operations that it was to tell."""
        told = self._told.own_traces if self._told else Counted()
        return self._own_traces + told

    def answered(self, number: int) -> None:
        """Returns when that question is answered, or will not be soon. If its process has died, what that one had taken
        is known once the next one is open."""
        self._await(lambda told: told.answers >= number, ANSWER_S)

    def _await(self, heard: Callable[[Told], bool], timeout_s: float) -> bool:
        with self._told_anew:
            return self._told_anew.wait_for(lambda: self._told is not None and heard(self._told), timeout_s)

    def end(self) -> None:
        self._ending.set()
        self.say(Stop())
        self._thread.join(END_S)
        if self._thread.is_alive() and self._process is not None:
            log.warning("worker %d does not end and is killed", self.number)
            self._process.kill()
            self._thread.join()

    def add_to(self, stats: IntakeStats) -> None:
        """Adds what its doors have counted."""
        stats.add(self._ended)
        if told := self._told:
            stats.add(told.stats)

    @property
    def auth_failures(self) -> int:
        return self._failures + (self._told.auth_failures if self._told else 0)

    @property
    def inflight_bytes(self) -> int:
        return self._told.inflight_bytes if self._told else 0

    @property
    def resident_bytes(self) -> int:
        return self._told.resident_bytes if self._told else 0

    @property
    def cpu_seconds(self) -> float:
        return self._cpu_seconds + (self._told.cpu_seconds if self._told else 0.0)

    def _stored(self, signal: str, reached: Reached) -> None:
        self.say(Stored(signal, reached))

    # ------------------------------------------------------------------- its process

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        code: int | OSError | None = None
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                code = self._attend(*self._spawn())
            except OSError as error:  # there is no room for another process
                code = error
            if self._ending.is_set() or not self.opened.done() or self.opened.exception():
                break
            log.error("worker %d ended (%s); it is started again", self.number, code)
            pause_s = FIRST_PAUSE_S if time.monotonic() - began > SOON_S else pause_s * 2
            self._ending.wait(min(pause_s, LONGEST_PAUSE_S))
        if not self.opened.done():
            self.opened.set_exception(
                ServiceError(f"worker {self.number} ended before it was open: {code}", EX_UNAVAILABLE)
            )

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Line]:
        ours, theirs = socket.socketpair()
        listener = self._listener.fileno() if self._listener else -1
        handed = [theirs.fileno(), listener, self._shares_file.fileno()]
        with theirs:
            process = spawned(PROGRAM, handed)
        self._process = process
        return process, Line(Connection(ours.detach()))

    def _attend(self, process: subprocess.Popen[bytes], line: Line) -> int:
        """Hears what it tells until it has ended; returns its exit code."""
        for message in (*self._first(), Ask(self._asked), *([Refuse()] if self._refuses else [])):
            line.say(message)
        self._line = line
        if self._ending.is_set():
            line.say(Stop())
        try:
            while True:
                self._heard(line, line.hear())
        except EOFError:
            pass
        except Exception:
            log.exception("worker %d can not be understood", self.number)
            process.kill()
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._shares.gone(self.number - 1)
        line.close()
        for journal in self.journals.values():
            journal.away()
        if told := self._told:
            self._ended.add(told.stats)
            self._failures += told.auth_failures
            self._cpu_seconds += told.cpu_seconds
            self._own_traces += told.own_traces
            self._told = None
        return code

    def _heard(self, line: Line, message: object) -> None:
        match message:
            case Opened(journals):
                for signal, opening in journals.items():
                    self.journals[signal].opened(opening)
                if not self.opened.done():
                    self.opened.set_result(None)
            case Told():
                for signal, progress in message.journals.items():
                    self.journals[signal].take(progress)
                self._keys.used(message.keys_used)
                for seconds in message.loop_lags:
                    self.loop_lag(seconds)
                with self._told_anew:
                    self._told = message
                    self._told_anew.notify_all()
            case Explained():
                with self._told_anew:
                    self._explained = message
                    self._told_anew.notify_all()
            case GivenUp(number, request, reason):
                try:
                    self._keep(request, reason)
                except OSError as error:
                    line.say(Kept(number, str(error) or type(error).__name__))
                else:
                    line.say(Kept(number))
            case Failed(text, exit_code):
                if self.opened.done():
                    log.error("worker %d: %s", self.number, text)
                else:
                    self.opened.set_exception(ServiceError(text, exit_code))


class Crew:
    """All workers, and the sockets that they share.

    Args:
        token: the API token.
        instance_id: of the collector, by which all its processes are known.

    Raises: ListenError, if a port is taken.
    """

    def __init__(self, settings: Settings, token: str, keys: Keys, instance_id: str = "") -> None:
        protocols = settings.receivers.otlp.protocols
        self._token = token
        self._instance_id = instance_id
        self._settings = settings
        self._renewed: Sequence[Renewed] = ()
        """The settings that hold by now, if they are others."""
        self._shares = Shares.file(settings.workers)
        self._listener: socket.socket | None = None
        self._reserved: Sequence[socket.socket] = ()
        self.http: str | None = None
        """Where OTLP/HTTP is received."""
        self.grpc: str | None = None
        """Where OTLP/gRPC is."""
        self.keep: Callable[[Submission, str], None] = _not_kept
        """Keeps a request that can not be read, as `Intake.given_up` does."""
        if protocols.http.endpoint:
            self._listener = bound(
                "http", protocols.http.endpoint, protocols.http.socket_mode, patience_s=PATIENCE_S
            )
            secure = bool(protocols.http.tls.cert_file)
            self.http = url_of(protocols.http.endpoint, self._listener, secure=secure)
        if protocols.grpc.endpoint and not protocols.grpc.endpoint.startswith(UNIX):
            try:
                self._reserved = reserved(protocols.grpc.endpoint)
            except ListenError:
                self.let_go()
                raise
            self.grpc = f"{host_of(protocols.grpc.endpoint)}:{self._reserved[0].getsockname()[1]}"
        self.hands = [
            Hand(
                number,
                self._listener,
                self._shares,
                partial(self._first, number),
                lambda request, reason: self.keep(request, reason),
                keys,
                partial(self._follow, number),
            )
            for number in range(1, settings.workers + 1)
        ]

    @property
    def journals(self) -> dict[str, Followed]:
        """Those that the workers write, by lane."""
        return {
            lane(signal, hand.number): journal
            for hand in self.hands
            for signal, journal in hand.journals.items()
        }

    async def open(self, parts: AsyncExitStack) -> None:
        """Starts them, and returns when all doors are open.

        Raises: ServiceError.
        """
        parts.callback(self.let_go)
        for journal in self.journals.values():
            parts.callback(journal.close)
        parts.push_async_callback(self._end)
        for hand in self.hands:
            hand.begin()
        for hand in self.hands:
            try:
                await asyncio.wait_for(asyncio.wrap_future(hand.opened), START_S)
            except TimeoutError:
                raise ServiceError(f"worker {hand.number} does not start", EX_UNAVAILABLE) from None

    def take_over(self, settings: Settings) -> None:
        """Other settings hold. They were found right here."""
        self._renewed = [Renewed(_plain(settings))]
        for hand in self.hands:
            hand.say(self._renewed[0])

    def renew(self) -> None:
        """When this returns, all is known that the workers did until it was called."""
        for hand, number in [(hand, hand.ask()) for hand in self.hands]:
            hand.answered(number)

    def own_traces(self) -> Sequence[Counted]:
        """What became of operations that workers were to tell."""
        return [hand.own_traces for hand in self.hands]

    def explained(self) -> dict[int, Explained | None]:
        """What each worker is at, by its number; None for who does not say."""
        asked = [(hand, hand.explain()) for hand in self.hands]
        return {hand.number: hand.explained(number) for hand, number in asked}

    def leave(self) -> None:
        """Nobody is to be sent here any more."""
        for hand in self.hands:
            hand.say(Leave())

    async def refuse(self) -> None:
        """From now on nothing is taken; when this returns, all that was is known."""
        await asyncio.gather(*(asyncio.to_thread(hand.refuse) for hand in self.hands))

    async def _end(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(hand.end) for hand in self.hands))

    def let_go(self) -> None:
        """Closes the sockets, and what workers share."""
        self._shares.close()
        for one in (self._listener, *self._reserved):
            if one is not None:
                one.close()

    def _follow(self, number: int, signal: str, tell: Callable[[Reached], None]) -> Followed:
        directory = directory_of(self._settings.data_dir, number, signal)
        return Followed(directory, tell, masking(self._settings.redaction))

    def _first(self, number: int) -> Sequence[object]:
        """What a worker is told first: the settings that the collector started with, as its journals are read by these,
        and then what was taken over since."""
        endpoint = self._settings.receivers.otlp.protocols.http.endpoint
        start = Start(
            _plain(self._settings),
            self._token,
            number,
            len(self.hands),
            endpoint,
            self.grpc,
            self._instance_id,
        )
        return [start, *self._renewed]


def reserved(endpoint: str) -> Sequence[socket.socket]:
    """Sockets that keep a port for those who share it, the first of them on it. They take no connections.

    While nobody listens, others of our user may share the port too. So there is a name beside it, which is the
    machine's as the port is, belongs to one process, and goes with it.

    Raises: ListenError: somebody else has the port.
    """
    # Without sharing, it can only be had if nobody listens there.
    with bound("grpc", endpoint, patience_s=PATIENCE_S) as only:
        family, address = only.family, only.getsockname()
    shared = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        shared.setsockopt(socket.SOL_SOCKET, option, 1)
    named = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        shared.bind(address)
        if sys.platform == "linux":
            named.bind(f"\0eddyline/grpc/{address[0]}/{address[1]}")
    except OSError as error:
        shared.close()
        named.close()
        raise ListenError(f"grpc can not listen on {endpoint}: {error.strerror}") from None
    return shared, named


def _plain(settings: Settings) -> Settings:
    """The same values, of a class that another process can import: what was read may be of one made for that."""
    return Settings.model_construct(**dict(settings))


def _not_kept(request: Submission, reason: str) -> None:
    raise OSError("the collector is starting")
