"""What a line of JSON is, and the OTLP/JSON that it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collector.exporting.otlp import requests
from collector.otlp import Signal

Document = dict[str, Any]
Requests = list[tuple[Signal, Document, str]]
"""(signal, request, project); "": as the resource says."""


class NotImportableError(ValueError):
    """Why a line can not be taken."""


def is_otlp(document: Document) -> bool:
    return bool({"resourceSpans", "resourceLogs", "resource_spans", "resource_logs"} & document.keys())


def read_otlp(document: Document) -> Requests:
    """A request of traces, of logs, or of both, as the OpenTelemetry collector's file exporter writes them."""
    found: Requests = []
    for signal, names in (
        (Signal.TRACES, ("resourceSpans", "resource_spans")),
        (Signal.LOGS, ("resourceLogs", "resource_logs")),
    ):
        found += [(signal, {name: document[name]}, "") for name in names if name in document]
    return found


def is_own(document: Document) -> bool:
    return document.get("signal") in ("span", "log")


def read_own(document: Document) -> Requests:
    """A line of an export of shape `spans`.

    Raises: NotImportableError.
    """
    try:
        return [(signal, request, document["project"]) for signal, request in requests([document])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotImportableError(f"is no span or log record of an export: {error!r}") from None


def is_trailer(document: Document) -> bool:
    """The last line of an export, which tells its rows and hash."""
    return document.keys() == {"export"}


def why_not(document: Document) -> str:
    """Why a line of no known kind is not taken."""
    if {"event_id", "type", "time"} <= document.keys() or {"run_id", "counts", "usage"} <= document.keys():
        return "runs and events are made of spans: export them with the shape `spans`"
    if "messages" in document or {"role", "parts"} <= document.keys():
        return "messages are made of spans: export them with the shape `spans`"
    if "resourceMetrics" in document or "resource_metrics" in document:
        return "metrics are not kept"
    return "is of no known kind"


Reading = tuple[Callable[[Document], bool], Callable[[Document], Requests]]
READINGS: Mapping[str, Reading] = {"otlp-json": (is_otlp, read_otlp), "jsonl": (is_own, read_own)}
"""Formats of which each line stands for itself: how a line is known, and read."""
