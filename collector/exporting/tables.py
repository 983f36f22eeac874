"""The columns of what is exported as a table: where each stands in a document, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

TEXT, REAL, INTEGER, FLAG, DOCUMENT = "text", "real", "integer", "flag", "document"
"""Kinds of columns. A DOCUMENT is a list or an object, as JSON text."""

Columns = Mapping[str, str]
"""Kind by path."""

_USAGE = ("input", "output", "total", "cache_read", "cache_write", "reasoning", "embedding")
_COUNTS = (
    "spans",
    "llm_calls",
    "llm_errors",
    "embeddings",
    "tool_calls",
    "tool_errors",
    "handoffs",
    "retries",
    "warnings",
    "unpriced_calls",
)


def _all(kind: str, *paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, kind)


_TOKENS = _all(INTEGER, *(f"usage.{name}" for name in _USAGE))
_ERROR = _all(TEXT, "error.type", "error.message")

RUNS: Columns = {
    **_all(TEXT, "run_id", "project", "name", "status", "started_at", "ended_at"),
    "duration_ms": REAL,
    **_all(TEXT, "session_id", "user_id", "environment"),
    **_all(DOCUMENT, "services", "agents", "models", "tools", "tags"),
    "note": TEXT,
    "pinned": FLAG,
    **_TOKENS,
    "usage_method": TEXT,
    "cost_usd": REAL,
    "cost_source": TEXT,
    **_all(INTEGER, *(f"counts.{name}" for name in _COUNTS)),
    **_ERROR,
    "health.score": INTEGER,
    "health.label": TEXT,
    "health.reasons": DOCUMENT,
    **_all(TEXT, "top_warning.type", "top_warning.severity"),
    "setup_only": FLAG,
    **_all(TEXT, "duplicate_of", "input", "output"),
}

EVENTS: Columns = {
    **_all(TEXT, "event_id", "type", "run_id", "span_id", "parent_span_id", "time", "kind", "name", "agent"),
    **_all(TEXT, "provider", "model", "operation", "tool", "tool_call_id", "status"),
    **_TOKENS,
    **_all(REAL, "cost_usd", "latency_ms", "ttft_ms"),
    "finish_reasons": DOCUMENT,
    **_ERROR,
    **_all(TEXT, "handoff.from", "handoff.to", "handoff.source", "convention", "duplicate_of"),
    **_all(TEXT, "input", "output"),
}

SPANS: Columns = {
    **_all(TEXT, "signal", "run_id", "trace_id", "span_id", "parent_span_id", "trace_state", "name", "kind"),
    "started_at": TEXT,
    "duration_ms": REAL,
    **_all(TEXT, "status.code", "status.message", "severity.text"),
    "severity.number": INTEGER,
    **_all(TEXT, "event_name", "body", "project"),
    "resource": DOCUMENT,
    **_all(TEXT, "scope.name", "scope.version"),
    **_all(DOCUMENT, "scope.attributes", "attributes", "events", "links"),
}


MESSAGES: Columns = {
    **_all(TEXT, "run_id", "span_id", "time", "agent", "model", "role"),
    **_all(FLAG, "wrote", "new"),
    "text": TEXT,
    "parts": DOCUMENT,
}


def cells(document: Mapping[str, Any], columns: Columns) -> list[Any]:
    """The document as a row; None where it has nothing."""
    row = []
    for path, kind in columns.items():
        value: Any = document
        for name in _steps(path):
            value = value.get(name) if isinstance(value, dict) else None
        if kind == DOCUMENT:
            value = orjson.dumps(value).decode() if value else None
        row.append(value)
    return row


def _steps(path: str) -> Sequence[str]:
    return path.split(".")
