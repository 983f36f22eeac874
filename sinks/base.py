"""What every sink is: a place that batches are written to, and the two ways in which writing fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mappers.model import Event, LogRecord, Run, Span, Warning

RunKey = tuple[str, str]
"""(tenant, run id)"""
SpanVersion = tuple[str, str, str, int]
"""(tenant, trace id, span id, end in ns)"""


class SinkError(Exception):
    """Base of what a sink raises on purpose."""


class RetryableError(SinkError):
    """The same batch may succeed later: the store is away, busy or out of memory."""


class BusyError(RetryableError):
    """The same batch may succeed later, and not before `after_s` seconds."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class PermanentError(SinkError):
    """The same batch will never succeed: a row does not fit."""


class WrongStoreError(PermanentError):
    """Nothing will succeed until somebody mends the store: a table or a column is not there. No row is to blame."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Spans of a batch as they were sent, for a sink that reads OTLP requests by itself."""

    requests: Sequence[bytes]
    """Each in protobuf: no field given twice, lists only of texts, numbers or bytes and only of spans and resources;
    labelled with the tenant (field 1004) and in each `ResourceSpans` the project (1005)."""
    rest: Sequence[Span]
    """Spans that no request holds, because they are not stored just as they were sent."""


@dataclass(slots=True)
class Insert:
    """Rows that were written to one table, or could not be."""

    table: str
    rows: int
    began_ns: int
    ended_ns: int = 0
    size: int = 0
    """Bytes handed to the store, before they are packed."""
    query_id: str = ""
    """By which the store knows it, if it does."""
    error: str = ""
    """Why it failed: the store's code or the kind of the fault, never what was sent."""


@dataclass(slots=True)
class Batch:
    """What one flush writes. Writing the same batch twice leaves the same rows as writing it once."""

    spans: Sequence[Span] = ()
    sent: Sent | None = None
    """All of `spans` once more, if they are known in this form."""
    logs: Sequence[LogRecord] = ()
    events: Sequence[Event] = ()
    runs: Sequence[Run] = ()
    warnings: Sequence[Warning] = field(default_factory=tuple)
    token: str = ""
    """The same for the same spans and log records only. A store may drop those that come with a token it has
    seen; "": none."""
    again: bool = False
    """It may have been written before, whole or in part, by a process that was killed or by a try that failed. That a
    store has seen the token does not mean that it has the rows."""
    outdated: set[SpanVersion] = field(default_factory=set)
    """Those of `spans` of which a later version is stored, and which are not to replace it."""
    refused: set[RunKey] = field(default_factory=set)
    """Runs whose rows were taken out on the way, since they were deleted meanwhile."""
    inserts: list[Insert] = field(default_factory=list)
    """What the last try wrote, in order; a sink that has tables adds to it."""


class Sink(Protocol):
    """A destination. Called from one thread at a time."""

    def write(self, batch: Batch) -> None:
        """Stores the batch; when it returns, all of it can be queried.

        Raises:
            RetryableError: try the same batch again.
            PermanentError: this batch can not be stored as it is.
        """

    def close(self) -> None:
        """Releases what the sink holds. Nothing may be written afterwards."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Items of a request that a target took, but for these."""

    items: int = 0
    why: str = ""


class Outlet(Protocol):
    """Where telemetry is passed on to, as it is: in OTLP requests. Called from one thread at a time, but for files;
    only `close` may come from another, and ends what is being waited for."""

    def send(self, signal: str, request: bytes, project: str) -> Rejected:
        """Passes on a request in protobuf; `project` is what its sender named beside it, "" for nothing.

        Raises:
            BusyError, RetryableError: try the same request again.
            PermanentError: it will never be taken.
        """

    def close(self) -> None:
        """Releases what is held; sending again takes it anew."""
