"""Prometheus metrics, read from what the parts count anyway when somebody asks: the hot path knows nothing of them.

Names that the OpenTelemetry collector has are kept, so that dashboards made for it work; ours begin with `eddyline_`.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from collector.breaker import Breaker
from collector.deadletter import DeadLetters
from collector.intake import IntakeStats
from collector.journal import Journal
from collector.pipeline import Pipeline
from collector.stages import Totals
from sinks.base import Batch

ITEMS = {"traces": "spans", "logs": "log_records", "metrics": "metric_points"}
"""How the OpenTelemetry collector names the items of a signal."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ROWS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000)

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(slots=True)
class Sources:
    """The parts that are asked."""

    version: str
    receivers: IntakeStats
    journals: Mapping[str, Journal]
    pipelines: Mapping[str, Pipeline[Any]]
    balance: Callable[[str], Mapping[str, int]]
    """What became of a signal's items, by signal."""
    dead_letters: DeadLetters
    breaker: Breaker
    totals: Totals


class Metrics(Collector):
    """The text of `/metrics`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._started = time.monotonic()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        sync = Histogram(
            "eddyline_wal_fsync_seconds",
            "Time that a sync of the journal took.",
            ["signal"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._insert = Histogram(
            "eddyline_sink_insert_seconds",
            "Time that storing a batch took.",
            ["signal"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._rows = Histogram(
            "eddyline_sink_batch_rows",
            "Rows of a stored batch, all tables together.",
            ["signal"],
            buckets=ROWS,
            registry=self._registry,
        )
        for signal, journal in sources.journals.items():
            journal.sync_seconds = sync.labels(signal).observe
        for signal, pipeline in sources.pipelines.items():
            pipeline.written.append(self._watch(signal))

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> list[Family]:
        return []

    def collect(self) -> Iterator[Family]:
        yield from self._process()
        yield from self._received()
        yield from self._delivered()
        yield from self._journalled()
        yield from self._stored()

    def _watch(self, signal: str) -> Callable[[Batch, float], None]:
        insert, rows = self._insert.labels(signal), self._rows.labels(signal)

        def written(batch: Batch, seconds: float) -> None:
            insert.observe(seconds)
            tables = (batch.spans, batch.logs, batch.events, batch.runs, batch.warnings)
            rows.observe(sum(map(len, tables)))

        return written

    def _process(self) -> Iterator[Family]:
        build = GaugeMetricFamily("eddyline_build_info", "Version.", labels=["version"])
        build.add_metric([self._sources.version], 1)
        yield build
        uptime = time.monotonic() - self._started
        yield CounterMetricFamily("otelcol_process_uptime", "Seconds since the start.", value=uptime)
        times = os.times()
        yield CounterMetricFamily(
            "otelcol_process_cpu_seconds", "CPU time, user and system.", value=times.user + times.system
        )
        yield GaugeMetricFamily("otelcol_process_memory_rss", "Resident memory in bytes.", value=_rss())

    def _received(self) -> Iterator[Family]:
        requests = CounterMetricFamily(
            "otelcol_receiver_requests",
            "Requests by how they ended.",
            labels=["receiver", "transport", "signal", "outcome"],
        )
        items: dict[str, Family] = {}
        for (transport, signal), counted in list(self._sources.receivers.by_door.items()):
            labels = ["proxy" if transport == "proxy" else "otlp", transport]
            bad, refused = counted.bad_requests, counted.refused_requests
            for outcome, value in (
                ("accepted", counted.requests - bad - refused),
                ("failed", bad),
                ("refused", refused),
            ):
                requests.add_metric([*labels, signal.value, outcome], value)
            name = ITEMS[signal.value]
            for what, value in (("accepted", counted.accepted), ("failed", counted.rejected)):
                family = items.setdefault(
                    f"otelcol_receiver_{what}_{name}",
                    CounterMetricFamily(
                        f"otelcol_receiver_{what}_{name}",
                        "Safe in the journal." if what == "accepted" else "Can never be stored; said so.",
                        labels=["receiver", "transport"],
                    ),
                )
                family.add_metric(labels, value)
        yield requests
        yield from items.values()

    def _delivered(self) -> Iterator[Family]:
        fates = GaugeMetricFamily(
            "eddyline_items",
            "accepted = stored + queued + dead_lettered + duplicates + filtered + damaged",
            labels=["signal", "fate"],
        )
        queue = GaugeMetricFamily(
            "otelcol_exporter_queue_size", "Items that wait for the store.", labels=["exporter", "data_type"]
        )
        for signal in self._sources.pipelines:
            balance = self._sources.balance(signal)
            for fate, value in balance.items():
                fates.add_metric([signal, fate], value)
            queue.add_metric(["clickhouse", signal], balance["queued"])
            name = ITEMS[signal]
            for what, value in (
                ("sent", balance["stored"] + balance["duplicates"]),
                ("send_failed", balance["dead_lettered"]),
            ):
                family = CounterMetricFamily(
                    f"otelcol_exporter_{what}_{name}", "Since the start.", labels=["exporter"]
                )
                family.add_metric(["clickhouse"], value)
                yield family
        yield fates
        yield queue
        retries = CounterMetricFamily("eddyline_sink_retries", "Tries that failed.", labels=["signal"])
        dropped = CounterMetricFamily(
            "eddyline_sink_rows_dropped", "Derived rows that the store would not take.", labels=["signal"]
        )
        for signal, pipeline in self._sources.pipelines.items():
            retries.add_metric([signal], pipeline.retries)
            dropped.add_metric([signal], pipeline.rows_dropped)
        yield retries
        yield dropped
        yield GaugeMetricFamily(
            "eddyline_sink_consecutive_failures",
            "Failures of the store in a row.",
            value=self._sources.breaker.failures,
        )
        yield GaugeMetricFamily(
            "eddyline_dead_letter_bytes",
            "Size of what can not be stored.",
            value=self._sources.dead_letters.size_bytes,
        )

    def _journalled(self) -> Iterator[Family]:
        now_ns = time.time_ns()
        size = GaugeMetricFamily("eddyline_wal_bytes", "Bytes of the journal.", labels=["signal"])
        waiting = GaugeMetricFamily(
            "eddyline_wal_waiting_bytes", "Of these, not stored yet.", labels=["signal"]
        )
        age = GaugeMetricFamily(
            "eddyline_wal_oldest_age_seconds",
            "Age of the oldest request in the batch that is being stored.",
            labels=["signal"],
        )
        corrupt = CounterMetricFamily(
            "eddyline_wal_corrupt_ranges", "Ranges that could not be read.", labels=["signal"]
        )
        for signal, journal in self._sources.journals.items():
            oldest_ns = self._sources.pipelines[signal].oldest_ns
            size.add_metric([signal], journal.size_bytes)
            waiting.add_metric([signal], journal.waiting_bytes)
            age.add_metric([signal], max(0, now_ns - oldest_ns) / 1e9 if oldest_ns else 0)
            corrupt.add_metric([signal], journal.quarantine.ranges)
        yield from (size, waiting, age, corrupt)

    def _stored(self) -> Iterator[Family]:
        totals = self._sources.totals
        stored = GaugeMetricFamily("eddyline_stored", "What is stored, each counted once.", labels=["what"])
        for what in ("spans", "events", "runs"):
            stored.add_metric([what], getattr(totals, what))
        yield stored


def _rss() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc: the highest it has been is the best there is
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
