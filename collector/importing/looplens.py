"""LoopLens' events, as its SDK sends and its CLI exports them, as spans in OpenInference's words.

An event has `run_id`, `type`, `timestamp` and `sequence`; a call is two of them, `…_started` and `…_completed` or
`…_failed`, which share `span_id` or follow one another. A run is complete when its last event is known.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from collector.importing.documents import Document, NotImportableError
from collector.times import nanoseconds

SCOPE = "looplens"
MOST_EVENTS = 100_000
"""Events that wait for the end of their runs; then the oldest run is taken as it is."""
_KINDS = {"llm_call": "LLM", "tool_call": "TOOL", "agent": "AGENT"}
_TYPE = re.compile(r"(llm_call|tool_call|agent|handoff|run)_(started|completed|failed)")
_TRACE = re.compile(r"(?:otel-)?([0-9a-f]{32})")


def is_event(document: Document) -> bool:
    return {"run_id", "type"} <= document.keys() and bool({"timestamp", "sequence"} & document.keys())


@dataclass(slots=True)
class _Open:
    span_id: str
    event: Document
    at_ns: int


def trace_id_of(run_id: str) -> str:
    """The trace id of a run that LoopLens calls so."""
    known = _TRACE.fullmatch(run_id.lower())
    return known[1] if known else sha256(run_id.encode(errors="replace")).hexdigest()[:32]


def read(document: Document) -> int:
    """When the event happened, ns.

    Raises: NotImportableError: it is none of LoopLens'.
    """
    run_id, kind = document.get("run_id"), document.get("type")
    if not isinstance(run_id, str) or not run_id or not isinstance(kind, str):
        raise NotImportableError("run_id and type are no texts")
    try:
        return nanoseconds(document["timestamp"])
    except (KeyError, TypeError, ValueError):
        raise NotImportableError("timestamp is no RFC 3339 time") from None


class Assembly:
    """Makes spans of one run's events, taken in their order.

    Args:
        name, project: as the run was announced, before its first event.
    """

    def __init__(self, run_id: str, name: str = "", project: str = "") -> None:
        self.run_id, self.trace_id = run_id, trace_id_of(run_id)
        self.name, self.project = name, project
        self.ended = False
        self.held = 0
        """Events that are held for what comes later."""
        self.events = 0
        self._seen: set[str] = set()
        self._root_id = self._id("root")
        self._begin, self._end = 0, 0
        self._said: list[Document] = []
        self._status: Document = {}
        self._waiting: dict[str, list[_Open]] = {}
        self._agents: list[str] = []
        self._taken: tuple[str, str, _Open | None] = ("", "", None)
        """Of the latest event: its identity, what it ended, and that one's start."""

    def take(self, at_ns: int, event: Document) -> list[Document]:
        """Spans that the event completes."""
        identity = str(event.get("event_id") or f"#{self.events}")
        if identity in self._seen:  # sent again
            return []
        self._seen.add(identity)
        self.events += 1
        self._taken = identity, "", None
        self._begin = min(self._begin or at_ns, at_ns)
        self._end = max(self._end, at_ns)
        self.project = self.project or _text(event.get("project"))
        told = _TYPE.fullmatch(event["type"])
        what, how = (told[1], told[2]) if told else ("", "")
        span_id = self._id(identity)
        if what == "run":
            self._run(how, event)
            return []
        if what == "handoff":
            target = _text(event.get("name") or event.get("output") or event.get("tool") or "unknown")
            handoff = {**event, "tool": f"transfer_to_{target}"}
            return [self._span("tool_call", self._parent(), _Open(span_id, handoff, at_ns), handoff, at_ns)]
        if what not in _KINDS:
            self.held += 1
            self._said.append(
                {"timeUnixNano": str(at_ns), "name": event["type"], "attributes": _attributes(_plain(event))}
            )
            return []
        if how == "started":
            self.held += 1
            self._waiting.setdefault(what, []).append(_Open(span_id, event, at_ns))
            if what == "agent":
                self._agents.append(span_id)
            return []
        started = self._started(what, event)
        if started is None:
            started = _Open(span_id, {}, at_ns - round(_number(event.get("latency_ms")) * 10**6))
        else:
            self._taken = identity, what, started
        if started.span_id in self._agents:
            self._agents.remove(started.span_id)
        return [self._span(what, self._parent(), started, event, at_ns, failed=how == "failed")]

    def undo(self) -> Callable[[], None]:
        """What makes the event that was taken last one that did not come, so that it may be sent again."""
        identity, what, started = self._taken

        def undone() -> None:
            self._seen.discard(identity)
            if started is not None:
                self._waiting[what].insert(0, started)
                self.held += 1

        return undone

    def close(self) -> list[Document]:
        """Calls whose end never came, and the run's root."""
        spans = [
            self._span(what, self._root_id, left, {}, self._end)
            for what, waiting in self._waiting.items()
            for left in waiting
        ]
        root = {
            "traceId": self.trace_id,
            "spanId": self._root_id,
            "name": self.name or self.run_id,
            "kind": 1,
            "startTimeUnixNano": str(self._begin),
            "attributes": _attributes({"openinference.span.kind": "CHAIN"}),
            "events": self._said,
            "status": self._status,
        }
        if self.ended:
            root["endTimeUnixNano"] = str(self._end)
        return [root, *spans]

    def request(self, spans: list[Document]) -> Document:
        """Spans as a request."""
        resource = {"service.name": "looplens", "loop.project": self.project}
        return {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeSpans": [{"scope": {"name": SCOPE}, "spans": spans}],
                }
            ]
        }

    def _run(self, how: str, event: Document) -> None:
        if how == "started":
            self.name = _text(event.get("name")) or self.name
            return
        self.ended = True
        if how == "failed" or event.get("status") in ("failed", "error"):
            self._status = {"code": 2, "message": _text(event.get("error"))}

    def _started(self, what: str, event: Document) -> _Open | None:
        """The earliest open start that this end can belong to: what both tell of span, tool, agent and name is equal.
        LoopLens' decorator gives the end of a tool's call its name only."""
        waiting = self._waiting.get(what, [])
        for place, begun in enumerate(waiting):
            if all(_agree(names, begun.event, event) for names in _SAME[what]):
                self.held -= 1
                return waiting.pop(place)
        return None

    def _parent(self) -> str:
        return self._agents[-1] if self._agents else self._root_id

    def _span(
        self, what: str, parent: str, started: _Open, ended: Document, at_ns: int, *, failed: bool = False
    ) -> Document:
        return _call(self.trace_id, parent, what, started, ended, at_ns, failed=failed)

    def _id(self, of: str) -> str:
        return sha256(f"{self.run_id}\0{of}".encode(errors="replace")).hexdigest()[:16]


_SAME: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "llm_call": (("span_id",), ("name",), ("agent",)),
    "tool_call": (("span_id",), ("tool", "name")),
    "agent": (("span_id",), ("agent", "name")),
}
"""Members in which the start and the end of a call are the same, of several the first that is there."""


def _agree(names: tuple[str, ...], begun: Document, ended: Document) -> bool:
    first, second = (next((one[name] for name in names if one.get(name)), None) for one in (begun, ended))
    return first is None or second is None or first == second


class LoopLens:
    """Gathers events by run."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, list[tuple[int, Document]]] = OrderedDict()
        """(time in ns, event) by run"""
        self._held = 0

    def take(self, document: Document) -> Iterator[Document]:
        """Takes one event; gives OTLP/JSON requests of runs that ended with it.

        Raises: NotImportableError.
        """
        run_id = document["run_id"]
        self._runs.setdefault(run_id, []).append((read(document), document))
        self._held += 1
        if document["type"] in ("run_completed", "run_failed"):
            yield self._ended(run_id)
        while self._held > MOST_EVENTS:
            yield self._ended(next(iter(self._runs)))

    def rest(self) -> Iterator[Document]:
        """Requests of the runs whose end never came."""
        while self._runs:
            yield self._ended(next(iter(self._runs)))

    def _ended(self, run_id: str) -> Document:
        events = self._runs.pop(run_id)
        self._held -= len(events)
        assembly = Assembly(run_id)
        spans: list[Document] = []
        for at_ns, event in sorted(events, key=lambda told: (_number(told[1].get("sequence")), told[0])):
            spans += assembly.take(at_ns, event)
        return assembly.request([*assembly.close(), *spans])


def _number(sequence: Any) -> float:
    return sequence if isinstance(sequence, (int, float)) else 0


def _call(
    trace_id: str, parent: str, what: str, started: _Open, ended: Document, at_ns: int, *, failed: bool
) -> Document:
    def get(name: str) -> Any:
        value = ended.get(name)
        return started.event.get(name) if value is None else value

    kind = _KINDS[what]
    name = get("tool") if what == "tool_call" else get("model") if what == "llm_call" else get("agent")
    values: dict[str, Any] = {
        "openinference.span.kind": kind,
        "input.value": _text(get("input")),
        "output.value": _text(get("output")),
        "agent.name": get("agent"),
    }
    if what == "tool_call":
        values["tool.name"] = get("tool")
    if what == "llm_call":
        values |= {
            "llm.model_name": get("model"),
            "llm.token_count.total": get("tokens"),
            "llm.cost.total": get("cost"),
        }
    for key, value in (get("metadata") or {}).items() if isinstance(get("metadata"), dict) else ():
        values.setdefault(
            f"metadata.{key}", value if isinstance(value, (str, int, float, bool)) else _text(value)
        )
    error = get("error")
    return {
        "traceId": trace_id,
        "spanId": started.span_id,
        "parentSpanId": parent,
        "name": _text(get("name") or name or what),
        "kind": 1,
        "startTimeUnixNano": str(min(started.at_ns, at_ns)),
        "endTimeUnixNano": str(at_ns),
        "attributes": _attributes(values),
        "status": {"code": 2, "message": _text(error)} if failed or error else {},
    }


def _plain(event: Document) -> Document:
    return {
        name: value if isinstance(value, (str, int, float, bool)) else _text(value)
        for name, value in event.items()
        if name not in ("run_id", "type", "timestamp")
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _attributes(values: Document) -> list[Document]:
    found = []
    for key, value in values.items():
        if value is None or value == "":
            continue
        if isinstance(value, bool):
            told: Document = {"boolValue": value}
        elif isinstance(value, int) and abs(value) < 2**63:
            told = {"intValue": str(value)}
        elif isinstance(value, float):
            told = {"doubleValue": value}
        else:
            told = {"stringValue": str(value)}
        found.append({"key": key, "value": told})
    return found
