"""The document of `/api/v1/status`, from the parts that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from collector.forwarding.opening import Forwards
from collector.intake.arrivals import Arrivals
from collector.journal import Readable
from collector.journal.places import SIGNALS
from collector.notify import Notifier
from collector.pipeline.deadletter import DeadLetters
from collector.pipeline.lanes import Lanes
from collector.pipeline.pipeline import Pipeline
from collector.process.endpoints import find
from collector.processing import Processing
from collector.proxy.door import ProxyDoor
from collector.status.metrics import Metrics
from collector.telemetry.telemetry import Status
from collector.telemetry.tracing import Tracer
from collector.understanding.understanding import Understanding


def status_of(
    arrivals: Arrivals,
    lanes: Lanes,
    processing: Processing,
    dead_letters: DeadLetters,
    forwards: Forwards,
    understanding: Understanding,
    metrics: Metrics,
    proxy: ProxyDoor,
    notifier: Notifier,
    tracer: Tracer,
    directory: Path,
) -> Status:
    """`directory` is the collector's data directory."""
    totals = processing.totals
    return Status(
        version("eddyline"),
        {
            # In this order: what is no longer queued here is among what is stored.
            "pipeline": lambda: lanes.balance("traces") | {"logs": lanes.balance("logs")},
            "endpoints": lambda: asdict(here) if (here := find(directory)) else None,
            "stored": lambda: {"spans": totals.spans, "events": totals.events, "runs": totals.runs},
            "receivers": arrivals.document,
            "over_quota": arrivals.over_quota,
            "mappers": lambda: understanding.mappers() | {"unmapped": metrics.unmapped},
            "mapping": processing.mapping.document,
            "redaction": understanding.masked,
            "proxy": proxy.document,
            "notifications": notifier.document,
            "journal": lambda: {signal: _journals(lanes.journals(signal)) for signal in SIGNALS},
            "dead_letters": lambda: {"bytes": dead_letters.size_bytes, "full": dead_letters.is_full},
            "sink": lambda: {signal: _pipelines(lanes.pipelines(signal)) for signal in SIGNALS},
            "forwards": forwards.document,
            "own_traces": tracer.document,
        },
    )


def _journals(journals: Sequence[Readable]) -> dict[str, Any]:
    """Those of one signal."""
    return {
        "bytes": sum(journal.size_bytes for journal in journals),
        "waiting_bytes": sum(journal.waiting_bytes for journal in journals),
        "refuses": next(filter(None, (journal.room() for journal in journals)), None),
        "quarantined_ranges": sum(journal.corrupt_ranges for journal in journals),
    }


def _pipelines(pipelines: Sequence[Pipeline[Any]]) -> dict[str, Any]:
    """Those of one signal."""
    return {
        "last_error": next((one.patience.last_error for one in pipelines if one.patience.last_error), None),
        "lag_s": round(max(one.lag_s for one in pipelines), 3),
    }
