"""LoopLens' events, as its SDK sends and its CLI exports them, as spans in OpenInference's words.

An event has `run_id`, `type`, `timestamp` and `sequence`; a call is two of them, `…_started` and `…_completed` or
`…_failed`, which share `span_id` or follow one another. A run is complete when its last event is known.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Run:
    events: list[tuple[int, Document]] = field(default_factory=list)
    """(time in ns, event)"""


class LoopLens:
    """Gathers events by run."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._held = 0

    def take(self, document: Document) -> Iterator[Document]:
        """Takes one event; gives OTLP/JSON requests of runs that ended with it.

        Raises: NotImportableError.
        """
        run_id, kind = document["run_id"], document["type"]
        if not isinstance(run_id, str) or not run_id or not isinstance(kind, str):
            raise NotImportableError("run_id and type are no texts")
        try:
            at_ns = nanoseconds(document["timestamp"])
        except (KeyError, TypeError, ValueError):
            raise NotImportableError("timestamp is no RFC 3339 time") from None
        self._runs.setdefault(run_id, _Run()).events.append((at_ns, document))
        self._held += 1
        if kind in ("run_completed", "run_failed"):
            yield self._ended(run_id)
        while self._held > MOST_EVENTS:
            yield self._ended(next(iter(self._runs)))

    def rest(self) -> Iterator[Document]:
        """Requests of the runs whose end never came."""
        while self._runs:
            yield self._ended(next(iter(self._runs)))

    def _ended(self, run_id: str) -> Document:
        run = self._runs.pop(run_id)
        self._held -= len(run.events)
        return _request(run_id, run)


def _request(run_id: str, run: _Run) -> Document:
    events = sorted(run.events, key=lambda told: (told[1].get("sequence") or 0, told[0]))
    known = _TRACE.fullmatch(run_id.lower())
    trace_id = known[1] if known else sha256(run_id.encode(errors="replace")).hexdigest()[:32]
    root_id = sha256(f"{run_id}\0root".encode(errors="replace")).hexdigest()[:16]
    begin = min(at_ns for at_ns, _ in events)
    end = max(at_ns for at_ns, _ in events)
    root: Document = {
        "traceId": trace_id,
        "spanId": root_id,
        "name": next(
            (event["name"] for _, event in events if event.get("name") and event["type"] == "run_started"),
            run_id,
        ),
        "kind": 1,
        "startTimeUnixNano": str(begin),
        "attributes": _attributes({"openinference.span.kind": "CHAIN"}),
        "events": [],
        "status": {},
    }
    spans = [root]
    waiting: dict[tuple[str, str], list[_Open]] = {}
    agents: list[str] = []
    for place, (at_ns, event) in enumerate(events):
        told = _TYPE.fullmatch(event["type"])
        what, how = (told[1], told[2]) if told else ("", "")
        identity = event.get("event_id") or place
        span_id = sha256(f"{run_id}\0{identity}".encode(errors="replace")).hexdigest()[:16]
        parent = agents[-1] if agents else root_id
        if what == "run":
            if how != "started":
                root["endTimeUnixNano"] = str(max(at_ns, end))
                if how == "failed" or event.get("status") in ("failed", "error"):
                    root["status"] = {"code": 2, "message": _text(event.get("error"))}
        elif what in _KINDS and how == "started":
            waiting.setdefault(_key(what, event), []).append(_Open(span_id, event, at_ns))
            if what == "agent":
                agents.append(span_id)
        elif what in _KINDS:
            begun = waiting.get(_key(what, event), [])
            started = (
                begun.pop(0)
                if begun
                else _Open(span_id, {}, at_ns - round((event.get("latency_ms") or 0) * 10**6))
            )
            if started.span_id in agents:
                agents.remove(started.span_id)
                parent = agents[-1] if agents else root_id
            spans.append(_call(trace_id, parent, what, started, event, at_ns, failed=how == "failed"))
        elif what == "handoff":
            target = _text(event.get("name") or event.get("output") or event.get("tool") or "unknown")
            handoff = {**event, "tool": f"transfer_to_{target}"}
            spans.append(
                _call(
                    trace_id,
                    parent,
                    "tool_call",
                    _Open(span_id, handoff, at_ns),
                    handoff,
                    at_ns,
                    failed=False,
                )
            )
        else:
            root["events"].append(
                {"timeUnixNano": str(at_ns), "name": event["type"], "attributes": _attributes(_plain(event))}
            )
    for (what, _), left in waiting.items():
        for begun_one in left:
            span = _call(trace_id, root_id, what, begun_one, {}, end, failed=False)
            spans.append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": "looplens"})},
                "scopeSpans": [{"scope": {"name": SCOPE}, "spans": spans}],
            }
        ]
    }


def _key(what: str, event: Document) -> tuple[str, str]:
    named = event.get("span_id") or (event.get("tool") if what == "tool_call" else event.get("agent")) or ""
    return what, str(named)


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
