"""The document of `/api/v1/status`, from the parts that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from collector.balance import balanced
from collector.deadletter import DeadLetters
from collector.endpoints import find
from collector.forwarding.opening import Forwards
from collector.intake import Intake
from collector.journal import Journal
from collector.metrics import Metrics
from collector.notify import Notifier
from collector.processing import Processing
from collector.proxy.door import ProxyDoor
from collector.telemetry import Status
from collector.understanding import Understanding


def status_of(
    intake: Intake,
    journals: Mapping[str, Journal],
    processing: Processing,
    dead_letters: DeadLetters,
    forwards: Forwards,
    understanding: Understanding,
    metrics: Metrics,
    proxy: ProxyDoor,
    notifier: Notifier,
    directory: Path,
) -> Status:
    """`directory` is the collector's data directory."""
    pipelines, totals = processing.pipelines, processing.totals

    def balance(signal: str) -> dict[str, int]:
        return balanced(intake, journals[signal], pipelines[signal])

    return Status(
        version("eddyline"),
        {
            # In this order: what is no longer queued here is among what is stored.
            "pipeline": lambda: balance("traces") | {"logs": balance("logs")},
            "endpoints": lambda: asdict(here) if (here := find(directory)) else None,
            "stored": lambda: {"spans": totals.spans, "events": totals.events, "runs": totals.runs},
            "receivers": intake.stats.document,
            "mappers": lambda: understanding.mappers() | {"unmapped": metrics.unmapped},
            "redaction": understanding.masked,
            "proxy": proxy.document,
            "notifications": notifier.document,
            "journal": lambda: {
                signal: {
                    "bytes": journal.size_bytes,
                    "waiting_bytes": journal.waiting_bytes,
                    "refuses": journal.room() or None,
                    "quarantined_ranges": journal.quarantine.ranges,
                }
                for signal, journal in journals.items()
            },
            "dead_letters": lambda: {"bytes": dead_letters.size_bytes, "full": dead_letters.is_full},
            "sink": lambda: {
                signal: {"last_error": pipeline.last_error or None, "lag_s": round(pipeline.lag_s, 3)}
                for signal, pipeline in pipelines.items()
            },
            "forwards": forwards.document,
        },
    )
