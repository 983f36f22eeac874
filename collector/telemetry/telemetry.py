"""What the collector says of itself: health for probes, status for people and programs, log lines."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(slots=True)
class Health:
    """Liveness and readiness. The store being away does not make the collector unready: the journal takes on."""

    checks: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """What must hold while ready, by name."""
    vital: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """What must hold for the collector to be alive, by name: if it does not, only a restart can help."""
    ready: bool = False
    """Everything listens, and the collector is not about to end."""
    leaving: list[Callable[[], None]] = field(default_factory=list)
    """Told when it is: those who say in their own way whether the collector is ready."""

    def leave(self) -> None:
        """From now on nobody is to be sent here."""
        self.ready = False
        for tell in self.leaving:
            tell()

    def failing(self) -> list[str]:
        """Names of the checks that do not hold; [] when all is well."""
        return self.dying() + [name for name, check in self.checks.items() if not check()]

    def dying(self) -> list[str]:
        """Names of what does not hold and is vital."""
        return [name for name, check in self.vital.items() if not check()]


@dataclass(slots=True)
class Status:
    """The document of `/api/v1/status`, made anew on each request from what the parts count."""

    version: str
    parts: Mapping[str, Callable[[], Any]]
    """Sections of the document by name."""
    started_at: float = field(default_factory=time.monotonic)

    def head(self) -> dict[str, Any]:
        """What anybody may know."""
        return {"version": self.version, "uptime_s": round(time.monotonic() - self.started_at, 3)}

    def document(self) -> dict[str, Any]:
        return self.head() | {name: part() for name, part in self.parts.items()}


MOST_CHARS = 256
"""Of a value in a log line, which may be what a client sent."""
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]?|[\x00-\x1f\x7f-\x9f]+|[\u2028\u2029]")
"""Sequences that terminals obey, other control characters, and what some readers take for the end of a line."""


def harmless(text: str) -> str:
    """What a client sent, as it may stand in a log line: one line, nothing that a terminal would obey, not long."""
    shown = _CONTROLS.sub(" ", text[: MOST_CHARS + 1])
    return shown if len(text) <= MOST_CHARS else shown[:MOST_CHARS] + "…"


class _Harmless(logging.Filter):
    """Makes harmless what is put into a log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(self._value, record.args))
        elif record.args:
            record.args = {name: self._value(value) for name, value in record.args.items()}
        if record.exc_info and not record.exc_text:
            trace = logging.Formatter().formatException(record.exc_info)
            record.exc_text = "\n".join(map(harmless, trace.splitlines()))
        return True

    def _value(self, value: object) -> object:
        return value if isinstance(value, (int, float)) else harmless(str(value))


SUBJECT = ("tenant", "trace_id")
"""What a log line may be about, as fields of their own."""
_TRACE_ID = re.compile("[0-9a-f]{32}")


def about(tenant: str = "", trace_id: str = "") -> dict[str, str]:
    """What a log line is about, as its `extra`: the tenant, and the trace as 32 hex digits. What is not known, or is no
    trace id, is left out."""
    found = {"tenant": harmless(tenant)} if tenant else {}
    return found | ({"trace_id": trace_id} if _TRACE_ID.fullmatch(trace_id) else {})


def _subject_of(record: logging.LogRecord) -> dict[str, str]:
    return {name: value for name in SUBJECT if (value := getattr(record, name, ""))}


class _PlainLines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        found = ", ".join(f"{name} {value}" for name, value in _subject_of(record).items())
        return super().formatMessage(record) + (f" ({found})" if found else "")


class _JsonLines(logging.Formatter):
    """One JSON object a line: `ts`, `level`, `event`, `component`, and where they are known `tenant`, `trace_id` and
    `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "component": record.name,
            **_subject_of(record),
        }
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _NotTooOften(logging.Filter):
    """Lets one warning or error of a kind through in ten seconds, and says how many it kept back.

    A kind is a component and the text before values are put into it.
    """

    EVERY_S = 10.0
    MOST_KINDS = 1000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = record.name, str(record.msg)
        shown_at, kept_back = self._kinds.get(kind, (-self.EVERY_S, 0))
        if self._clock() - shown_at < self.EVERY_S:
            self._kinds[kind] = shown_at, kept_back + 1
            return False
        if len(self._kinds) >= self.MOST_KINDS:
            self._kinds.clear()
        self._kinds[kind] = self._clock(), 0
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} ({kept_back} more like it)", ()
        return True


def configure_logging(level: str) -> None:
    """Lines on stderr: plain on a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainLines() if sys.stderr.isatty() else _JsonLines())
    handler.addFilter(_Harmless())
    handler.addFilter(_NotTooOften())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # several servers start and end in our own words
