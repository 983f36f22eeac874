"""What the collector and a worker tell each other, over a socket that nobody else has: whole objects, in order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from collector.config import Settings
from collector.intake.counted import IntakeStats
from collector.intake.intake import Submission
from collector.journal import Opening, Progress, Reached
from collector.telemetry.tracing import Counted


@dataclass(frozen=True, slots=True)
class Start:
    """The first that a worker hears."""

    settings: Settings
    token: str
    number: int
    of: int
    """How many workers there are."""
    http: str | None
    """The endpoint of the socket that it was given; None for a door that is off."""
    grpc: str | None
    """Where it listens beside the other workers."""
    instance_id: str
    """Of the collector."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """Other settings hold."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class Leave:
    """Say that nobody is to be sent here, and go on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Take nothing more, and say so to who asks; what was taken until then is told before this is answered."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End, once requests in flight have been answered."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Tell how you are, at once."""

    number: int


@dataclass(frozen=True, slots=True)
class Explain:
    """Say what you are at."""

    number: int


@dataclass(frozen=True, slots=True)
class Stored:
    """How far the reader of the journal of a signal is."""

    signal: str
    reached: Reached


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a request that was given up."""

    number: int
    error: str = ""
    """Why it is not kept; "" if it is."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The doors are open."""

    journals: Mapping[str, Opening]
    """By signal."""


@dataclass(frozen=True, slots=True)
class Failed:
    """They can not be opened."""

    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Told:
    """How a worker is."""

    journals: Mapping[str, Progress]
    """By signal."""
    stats: IntakeStats
    auth_failures: int
    keys_used: Mapping[str, float]
    """When keys were used, by their ids, since it last told."""
    inflight_bytes: int
    cpu_seconds: float
    resident_bytes: int
    own_traces: Counted
    loop_lags: tuple[float, ...]
    """How late its event loop was, in seconds, since it last told."""
    answers: int
    """The number of what it was asked last."""
    refuses: bool
    """It takes nothing more, and nothing is on its way in."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What a worker is at."""

    number: int
    pid: int
    operations: Mapping[str, Any]
    """See `Operations`."""
    threads: Sequence[Mapping[str, Any]]
    """See `stacks`."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A request that a fault of ours keeps the worker from reading."""

    number: int
    request: Submission
    reason: str


class Line:
    """One end of the socket. May be spoken into from any thread, and is heard by one."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._speaking = threading.Lock()

    def say(self, message: object) -> bool:
        """False if nobody is there any more."""
        with contextlib.suppress(OSError), self._speaking:
            self._connection.send(message)
            return True
        return False

    def hear(self) -> Any:
        """The next message.

        Raises: EOFError: the other end is gone.
        """
        try:
            return self._connection.recv()
        except OSError:
            raise EOFError from None

    def close(self) -> None:
        self._connection.close()
