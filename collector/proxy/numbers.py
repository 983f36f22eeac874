"""The proxy's counts as text for Prometheus, for a sidecar that has no other metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Family = CounterMetricFamily | GaugeMetricFamily


def prometheus(document: Mapping[str, Any]) -> bytes:
    """The text of `/-/metrics`, from the document of `/-/status`."""
    shown = CollectorRegistry()
    shown.register(_Counts(document))
    return generate_latest(shown)


class _Counts(Collector):
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def collect(self) -> Iterator[Family]:
        document, recorder = self._document, self._document["recorder"]
        yield _counted("requests", "Requests relayed.", "upstream", document["requests"])
        yield _counted("errors", "Answers of the proxy's own.", "error", document["errors"])
        open_ = GaugeMetricFamily("eddyline_proxy_open", "Requests on their way.")
        open_.add_metric([], document["open"])
        yield open_
        if not recorder:
            return
        fates = {name: recorder[name] for name in ("recorded", "without_content", "dropped", "failed")}
        yield _counted("calls", "Calls by what became of their record.", "outcome", fates)
        outlet = recorder["outlet"]
        yield _counted(
            "spans_requests",
            "Requests with spans, handed on.",
            "outcome",
            {name: outlet[name] for name in ("sent", "lost")},
        )
        waiting = GaugeMetricFamily("eddyline_proxy_waiting", "What waits.", labels=["what"])
        waiting.add_metric(["calls"], recorder["waiting"])
        waiting.add_metric(["spans_requests"], outlet["waiting"])
        yield waiting


def _counted(name: str, meaning: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"eddyline_proxy_{name}", meaning, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
