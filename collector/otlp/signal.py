"""The three signals of OTLP."""

from __future__ import annotations

from enum import StrEnum


class Signal(StrEnum):
    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"

    @property
    def rejected_field(self) -> str:
        """Name of the count of refused items in the signal's `partial_success`."""
        return {
            Signal.TRACES: "rejected_spans",
            Signal.LOGS: "rejected_log_records",
            Signal.METRICS: "rejected_data_points",
        }[self]
