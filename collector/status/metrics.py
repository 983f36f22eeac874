"""Prometheus metrics, read from what the parts count anyway when somebody asks: the hot path knows nothing of them.

Names that the OpenTelemetry collector has are kept, so that dashboards made for it work; ours begin with `eddyline_`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from collector.apart.processes import Processes
from collector.config.reload import Reloadable
from collector.forwarding.opening import Forwards
from collector.intake.arrivals import Arrivals
from collector.intake.clients import OTHER
from collector.journal.places import SIGNALS
from collector.pipeline.breaker import Breaker
from collector.pipeline.deadletter import DeadLetters
from collector.pipeline.lanes import Lanes
from collector.pipeline.stages import LogStage, Totals, TraceStage
from collector.process.interpreter import watch_loop
from collector.telemetry.tracing import Tracer
from mappers.model import Event
from sinks.base import Batch

ITEMS = {"traces": "spans", "logs": "log_records", "metrics": "metric_points"}
"""How the OpenTelemetry collector names the items of a signal."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ITEMS_SENT = (10, 100, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000)
BYTES_SENT = (1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 23, 1 << 24, 1 << 25, 1 << 26)
MAPPER = "genai_mapper"
ROWS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000)

OLD_S = 86_400.0
"""What ended longer ago was not just measured, but is replayed or imported."""
MOST_SCOPES, MAX_SCOPE = 200, 100
MEANINGS = {
    "accepted": "Safe in the journal.",
    "failed": "Can never be stored; said so.",
    "refused": "Asked to come back; of requests that were looked into.",
}

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(slots=True)
class Sources:
    """The parts that are asked."""

    version: str
    arrivals: Arrivals
    stages: Mapping[str, TraceStage | LogStage]
    """By lane."""
    mapping: Processes
    lanes: Lanes
    dead_letters: DeadLetters
    breaker: Breaker
    totals: Totals
    reloadable: Reloadable
    forwards: Forwards
    tracer: Tracer
    wal_capacity_bytes: Callable[[], int]
    """Of all journals of a signal."""


class Metrics(Collector):
    """The text of `/metrics`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._started = time.monotonic()
        self._shown = CollectorRegistry()
        self._shown.register(self)
        histogram = partial(Histogram, registry=self._shown)
        sync = histogram(
            "eddyline_wal_fsync_seconds",
            "Time that a sync of the journal took.",
            ["signal"],
            buckets=SECONDS,
        )
        self._insert = histogram(
            "eddyline_sink_insert_seconds",
            "Time that storing a batch took.",
            ["signal"],
            buckets=SECONDS,
        )
        self._rows = histogram(
            "eddyline_sink_batch_rows",
            "Rows of a stored batch, all tables together.",
            ["signal"],
            buckets=ROWS,
        )
        self._sent_bytes = histogram(
            "eddyline_sink_batch_bytes",
            "Bytes of a stored batch as they were handed to the store, all tables together.",
            ["signal"],
            buckets=BYTES_SENT,
        )
        self._gathered = histogram(
            "otelcol_processor_batch_batch_send_size",
            "Spans and log records of a batch.",
            ["processor", "signal"],
            buckets=ITEMS_SENT,
        )
        self._gathered_bytes = histogram(
            "otelcol_processor_batch_batch_send_size_bytes",
            "Bytes of the journal of a batch.",
            ["processor", "signal"],
            buckets=BYTES_SENT,
        )
        # By lane, as each lane has its threads.
        self._triggers: Counter[tuple[str, bool]] = Counter()
        """Batches, and whether they were full."""
        self._incoming: Counter[str] = Counter()
        self._outgoing: Counter[str] = Counter()
        self._lag = histogram(
            "eddyline_ingest_lag_seconds",
            "From the end of a batch's newest span, by its own clock, until it can be queried.",
            ["signal"],
            buckets=SECONDS,
        )
        self._loop_lag = histogram(
            "eddyline_loop_lag_seconds",
            "How late the event loops came to what was due.",
            buckets=SECONDS,
        )
        sources.arrivals.watch_loops(self._loop_lag.observe)
        self._mapped: Counter[tuple[str, str]] = Counter()
        self._unmapped: Counter[str] = Counter()
        for signal in SIGNALS:
            for journal in sources.lanes.journals(signal):
                journal.sync_seconds = sync.labels(signal).observe
        for lane, pipeline in sources.lanes.all_pipelines.items():
            signal = sources.lanes.all_journals[lane].signal
            pipeline.gathering.gathered.append(self._watch_gathering(lane, signal))
            pipeline.storing.written.append(self._watch(signal))
            sources.stages[lane].mapped.append(partial(self._count_mapped, lane))

    def text(self) -> bytes:
        return generate_latest(self._shown)

    def families(self) -> Iterable[Metric]:
        """All that the text says."""
        return self._shown.collect()

    async def watch_loop(self) -> None:
        """Notes how late the event loop is, until it is cancelled."""
        await watch_loop(self._loop_lag.observe)

    def describe(self) -> list[Family]:
        return []

    def collect(self) -> Iterator[Family]:
        yield from self._process()
        yield from self._received()
        yield from self._processed()
        yield from self._delivered()
        yield from self._journalled()
        yield from self._understood()
        yield from self._stored()

    def _watch(self, signal: str) -> Callable[[Batch, float], None]:
        told = (self._insert, self._rows, self._sent_bytes, self._lag)
        insert, rows, sent_bytes, lag = (each.labels(signal) for each in told)

        def written(batch: Batch, seconds: float) -> None:
            insert.observe(seconds)
            tables = (batch.spans, batch.logs, batch.events, batch.runs, batch.warnings)
            rows.observe(sum(map(len, tables)))
            sent_bytes.observe(sum(one.size for one in batch.inserts if not one.error))
            newest_ns = max((event.end_ns for event in batch.events), default=0)
            late_s = (time.time_ns() - newest_ns) / 1e9
            if 0 <= late_s < OLD_S:
                lag.observe(late_s)

        return written

    def _watch_gathering(self, lane: str, signal: str) -> Callable[[int, int, bool], None]:
        counted = (each.labels("batch", signal) for each in (self._gathered, self._gathered_bytes))
        items_sent, bytes_sent = counted

        def gathered(items: int, size: int, is_full: bool) -> None:
            items_sent.observe(items)
            bytes_sent.observe(size)
            self._triggers[lane, is_full] += 1
            self._incoming[lane] += items

        return gathered

    def _count_mapped(self, lane: str, events: Sequence[Event]) -> None:
        self._outgoing[lane] += len(events)
        self._mapped.update((event.convention, event.kind) for event in events)
        for event in events:
            if not event.convention:
                known = event.scope in self._unmapped or len(self._unmapped) < MOST_SCOPES
                self._unmapped[event.scope[:MAX_SCOPE] if known else "other"] += 1

    @property
    def unmapped(self) -> dict[str, int]:
        """How many spans no convention knew, by scope, since the start."""
        return dict(self._unmapped)

    def _understood(self) -> Iterator[Family]:
        mapped = CounterMetricFamily(
            "eddyline_spans_mapped",
            "Events that were read, by the first convention that knew them and their kind.",
            labels=["convention", "kind"],
        )
        for (convention, kind), count in list(self._mapped.items()):
            mapped.add_metric([convention or "none", kind], count)
        unmapped = CounterMetricFamily(
            "eddyline_spans_unmapped", "Spans that no convention knew, by scope.", labels=["scope"]
        )
        for scope, count in self.unmapped.items():
            unmapped.add_metric([scope], count)
        yield from (mapped, unmapped)
        mapping = self._sources.mapping
        yield GaugeMetricFamily(
            "eddyline_mapping_processes", "Processes that map beside the collector.", value=mapping.alive
        )
        yield CounterMetricFamily(
            "eddyline_spans_mapped_apart", "Spans that they mapped.", value=mapping.spans
        )
        faults = CounterMetricFamily(
            "eddyline_mapping_faults",
            "Pieces of batches that were mapped by the collector because a process died, hung, failed or garbled them.",
            labels=["fault"],
        )
        for fault, count in list(mapping.faults.items()):
            faults.add_metric([fault], count)
        yield faults

    def _process(self) -> Iterator[Family]:
        build = GaugeMetricFamily("eddyline_build_info", "Version.", labels=["version"])
        build.add_metric([self._sources.version], 1)
        yield build
        uptime = time.monotonic() - self._started
        yield CounterMetricFamily("otelcol_process_uptime", "Seconds since the start.", value=uptime)
        arrivals = self._sources.arrivals
        yield CounterMetricFamily(
            "otelcol_process_cpu_seconds",
            "CPU time, user and system, of all processes.",
            value=arrivals.cpu_seconds + self._sources.mapping.cpu_s,
        )
        yield GaugeMetricFamily(
            "otelcol_process_memory_rss",
            "Resident memory in bytes, of all processes.",
            value=arrivals.resident_bytes,
        )
        own = CounterMetricFamily(
            "eddyline_own_operations",
            "Operations of the collector that own traces tell of, by what became of that.",
            labels=["fate"],
        )
        for fate, count in self._sources.tracer.fates().items():
            own.add_metric([fate], count)
        yield own
        yield GaugeMetricFamily(
            "eddyline_config_last_reload_successful",
            "1 unless the newest configuration could not be taken over.",
            value=self._sources.reloadable.successful,
        )

    def _received(self) -> Iterator[Family]:
        requests = CounterMetricFamily(
            "otelcol_receiver_requests",
            "Requests by how they ended.",
            labels=["receiver", "transport", "signal", "outcome"],
        )
        resent = CounterMetricFamily(
            "eddyline_duplicate_requests",
            "Requests that were taken a moment before, byte for byte.",
            labels=["transport", "signal"],
        )
        items: dict[str, Family] = {}
        stats = self._sources.arrivals.stats()
        for (transport, signal), counted in stats.by_door.items():
            resent.add_metric([transport, signal.value], counted.resent_requests)
            labels = ["proxy" if transport == "proxy" else "otlp", transport]
            bad, refused = counted.bad_requests, counted.refused_requests
            over_quota, unread = counted.over_quota_requests, counted.unread_requests
            for outcome, value in (
                ("accepted", counted.requests - bad - refused - over_quota - unread),
                ("failed", bad),
                ("refused", refused),
                ("quota", over_quota),
                ("unread", unread),
            ):
                requests.add_metric([*labels, signal.value, outcome], value)
            name = ITEMS[signal.value]
            for what, value in (
                ("accepted", counted.accepted),
                ("failed", counted.rejected),
                ("refused", counted.refused),
            ):
                family = items.setdefault(
                    f"otelcol_receiver_{what}_{name}",
                    CounterMetricFamily(
                        f"otelcol_receiver_{what}_{name}",
                        MEANINGS[what],
                        labels=["receiver", "transport"],
                    ),
                )
                family.add_metric(labels, value)
        rejections = CounterMetricFamily(
            "eddyline_partial_rejections",
            "Items that were rejected of requests that were accepted, by the reason.",
            labels=["signal", "reason"],
        )
        for (signal, reason), count in stats.rejections.items():
            rejections.add_metric([signal.value, reason], count)
        changes = CounterMetricFamily(
            "eddyline_changed_items",
            "What was cut from items that were accepted, or passed over in them; their senders are warned.",
            labels=["signal", "change"],
        )
        for (signal, change), count in stats.changes.items():
            changes.add_metric([signal.value, change], count)
        yield requests
        yield resent
        yield changes
        over = CounterMetricFamily(
            "eddyline_quota_refused_requests",
            "Requests that were refused as their project was over its quota.",
            labels=["tenant", "project"],
        )
        for (tenant, project), count in stats.over_quota.items():
            over.add_metric([tenant, project], count)
        yield over
        yield rejections
        yield from items.values()
        clients = CounterMetricFamily(
            "eddyline_client_requests",
            "Requests by what their senders call themselves: of old exporters a restart costs data.",
            labels=["sdk", "version"],
        )
        for name, count in stats.clients.items():
            clients.add_metric((name or OTHER).partition("/")[::2], count)
        yield clients
        yield CounterMetricFamily(
            "eddyline_auth_failures",
            "Requests without a key that holds.",
            value=self._sources.arrivals.auth_failures,
        )
        yield GaugeMetricFamily(
            "eddyline_inflight_bytes",
            "Memory that requests on their way in hold.",
            value=self._sources.arrivals.inflight_bytes,
        )

    def _processed(self) -> Iterator[Family]:
        journals = self._sources.lanes.all_journals
        for name, meaning, processor, counted in (
            ("incoming_items", "Spans and log records that were mapped.", MAPPER, self._incoming),
            ("outgoing_items", "Events that were made of them.", MAPPER, self._outgoing),
            ("batch_batch_size_trigger_send", "Batches that were full.", "batch", self._triggered(full=True)),
            (
                "batch_timeout_trigger_send",
                "Batches that had waited long enough.",
                "batch",
                self._triggered(full=False),
            ),
        ):
            family = CounterMetricFamily(f"otelcol_processor_{name}", meaning, labels=["processor", "signal"])
            for signal in SIGNALS:
                of_signal = [lane for lane, journal in journals.items() if journal.signal == signal]
                family.add_metric([processor, signal], sum(counted[lane] for lane in of_signal))
            yield family

    def _triggered(self, *, full: bool) -> Counter[str]:
        found = self._triggers.copy()
        return Counter({lane: count for (lane, was_full), count in found.items() if was_full == full})

    def _delivered(self) -> Iterator[Family]:
        fates = GaugeMetricFamily(
            "eddyline_items",
            "accepted = stored + queued + dead_lettered + duplicates + filtered + damaged",
            labels=["signal", "fate"],
        )
        queue = GaugeMetricFamily(
            "otelcol_exporter_queue_size", "Items that wait for the store.", labels=["exporter", "data_type"]
        )
        for signal in SIGNALS:
            balance = self._sources.lanes.balance(signal)
            for fate, value in balance.items():
                fates.add_metric([signal, fate], value)
            queue.add_metric(["clickhouse", signal], balance["queued"])
            name = ITEMS[signal]
            passed_on = [one for one in self._sources.forwards.forwarders if one.signal == signal]
            # A sink has a forwarder for each journal.
            for sink in {forwarder.name: None for forwarder in passed_on}:
                waiting = sum(one.waiting_items for one in passed_on if one.name == sink)
                queue.add_metric([sink, signal], waiting)
            for what, value in (
                ("sent", balance["stored"] + balance["duplicates"]),
                ("send_failed", balance["dead_lettered"]),
                ("enqueue_failed", 0),
            ):
                family = CounterMetricFamily(
                    f"otelcol_exporter_{what}_{name}", "Since the start.", labels=["exporter"]
                )
                family.add_metric(["clickhouse"], value)
                of_sinks: Counter[str] = Counter()
                for forwarder in passed_on:
                    told = forwarder.told
                    of_forward = {
                        "sent": told.sent - told.rejected,
                        "send_failed": told.failed + told.rejected,
                        "enqueue_failed": told.given_up,
                    }
                    of_sinks[forwarder.name] += of_forward[what]
                for sink, count in of_sinks.items():
                    family.add_metric([sink], count)
                yield family
        yield fates
        yield queue
        writing = GaugeMetricFamily(
            "otelcol_exporter_in_flight_requests", "Batches that are being stored.", labels=["exporter"]
        )
        busy = [pipeline.oldest_ns for pipeline in self._sources.lanes.all_pipelines.values()]
        writing.add_metric(["clickhouse"], sum(map(bool, busy)))
        yield writing
        letters = CounterMetricFamily(
            "eddyline_dead_letters",
            "What can not be stored, by the kind of reason.",
            labels=["signal", "reason"],
        )
        for (signal, kind), count in list(self._sources.dead_letters.kinds.items()):
            letters.add_metric([signal, kind], count)
        yield letters
        retries = CounterMetricFamily(
            "eddyline_sink_retries",
            "Tries that failed, by the store's code or the kind of the fault.",
            labels=["signal", "code"],
        )
        dropped = CounterMetricFamily(
            "eddyline_sink_rows_dropped", "Derived rows that the store would not take.", labels=["signal"]
        )
        for signal in SIGNALS:
            pipelines = self._sources.lanes.pipelines(signal)
            codes = sum(
                (Counter(dict(list(one.patience.retries.items()))) for one in pipelines), Counter[str]()
            )
            for code, count in codes.items():
                retries.add_metric([signal, code], count)
            dropped.add_metric([signal], sum(one.storing.rows_dropped for one in pipelines))
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
        capacity = GaugeMetricFamily(
            "eddyline_wal_capacity_bytes",
            "Bytes that may wait for the store.",
            labels=["signal"],
        )
        records = GaugeMetricFamily(
            "eddyline_wal_records", "Requests that wait for the store.", labels=["signal"]
        )
        age = GaugeMetricFamily(
            "eddyline_wal_oldest_age_seconds",
            "Age of the oldest request in the batch that is being stored.",
            labels=["signal"],
        )
        corrupt = CounterMetricFamily(
            "eddyline_wal_corrupt_ranges", "Ranges that could not be read.", labels=["signal"]
        )
        dropped = CounterMetricFamily(
            "eddyline_wal_dropped_segments",
            "Segments given up to make room (journal.on_full: drop_oldest).",
            labels=["signal"],
        )
        for signal in SIGNALS:
            journals = self._sources.lanes.journals(signal)
            dropped.add_metric([signal], sum(journal.dropped_segments for journal in journals))
            pipelines = self._sources.lanes.pipelines(signal)
            oldest_ns = min(filter(None, (pipeline.oldest_ns for pipeline in pipelines)), default=0)
            size.add_metric([signal], sum(journal.size_bytes for journal in journals))
            waiting.add_metric([signal], sum(journal.waiting_bytes for journal in journals))
            capacity.add_metric([signal], self._sources.wal_capacity_bytes())
            records.add_metric([signal], sum(pipeline.waiting_records for pipeline in pipelines))
            age.add_metric([signal], max(0, now_ns - oldest_ns) / 1e9 if oldest_ns else 0)
            corrupt.add_metric([signal], sum(journal.corrupt_ranges for journal in journals))
        yield from (size, waiting, capacity, records, age, corrupt, dropped)

    def _stored(self) -> Iterator[Family]:
        totals = self._sources.totals
        stored = GaugeMetricFamily("eddyline_stored", "What is stored, each counted once.", labels=["what"])
        for what in ("spans", "events", "runs"):
            stored.add_metric([what], getattr(totals, what))
        yield stored
