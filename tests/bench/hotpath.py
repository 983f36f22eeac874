"""Where the processor time of a span goes, stage by stage and by transport.

    python -m tests.bench.hotpath [--workloads agents,small] [--spans 40000] [--transports] [--gate 1.3] [--record]
                                  [--store DIRECTORY]

Stages are run one after the other in this process, batch by batch as the pipeline does, on an embedded store that is
thrown away, or on that of a data directory: a copy of one with much history shows whether that costs. `engine` is what
its threads take beside ours, merges that were put off included. With `--transports` a collector is started for each,
and all of it is measured until everything is stored.

A figure in microseconds belongs to the machine and the minute. Beside it stands its ratio to a yardstick measured in
the same run: parsing the same requests with the stock classes and putting every attribute into a dict. `--gate`
compares these ratios with the recorded ones (`hotpath.json`) and exits 1 if a workload's total grew by more than that;
`--record` writes them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.config import RedactionSettings
from collector.deriver.deriver import Deriver
from collector.journal.record import Header, Record, decode, encode
from collector.loops import LoopWatch
from collector.otlp import Signal, check, parse_traces, spans_of, transcode
from collector.pipeline.redaction import ProjectRules, Redaction
from collector.pipeline.sent import Received
from collector.process.interpreter import calm_garbage_collection
from mappers.conventions import BUILTIN
from mappers.loops.evaluator import Engine
from mappers.normalize import Normalizer
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Reader, Store
from tests.bench.workloads import WORKLOADS, Workload, requests
from tests.otlp_json import to_json
from tests.sending import TRACES
from tests.server import Server

RECORDED = Path(__file__).with_suffix(".json")
BATCH_SPANS = 8_192
BATCH_BYTES = 16 << 20
"""A batch is full at either, as in the collector."""
CONNECTIONS = 4
YARDSTICK = "yardstick"
APART = {YARDSTICK, "check JSON"}
"""What is no part of a span's way in protobuf."""

Sender = Callable[[ExportTraceServiceRequest], Callable[[], None]]
"""Makes a request ready to be sent; what it returns sends it."""
Costs = dict[str, float]
"""Microseconds of processor time a span, by stage."""


class Meter:
    """Adds up processor time: ours by stage, and that of all other threads as `engine`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str, *, engine: str = "") -> Iterator[None]:
        whole, own = time.process_time(), time.thread_time()
        yield
        own = time.thread_time() - own
        self.seconds[stage] += own
        if engine:
            self.seconds[engine] += time.process_time() - whole - own

    def costs(self, spans: int) -> Costs:
        return {stage: seconds / spans * 1e6 for stage, seconds in self.seconds.items()}


class Hotpath:
    """The stages between a request and its rows."""

    def __init__(self, store: Store) -> None:
        reader = Reader(store)
        self._store = store
        self._sink = ClickHouseSink(store)
        self._normalize = Normalizer().normalize
        self._redaction = Redaction(ProjectRules(RedactionSettings()), BUILTIN)
        self._deriver = Deriver(
            reader,
            max_events=50_000,
            watch=LoopWatch(Engine(), reader),
            rows_tell=reader.rows_tell(reader.unsettled_runs()),
        )
        self._received = Received()
        self._batches = 0

    def store(self, meter: Meter, made: Sequence[ExportTraceServiceRequest]) -> int:
        """Takes requests all the way as one batch; returns how many spans they had."""
        bodies = [request.SerializeToString() for request in made]
        documents = [to_json(request) for request in made]
        with meter(YARDSTICK):
            for body in bodies:
                _walk(body)
        with meter("check JSON"):
            for document in documents:
                transcode(Signal.TRACES, document)
        with meter("check"):
            checked = [check(Signal.TRACES, body) for body in bodies]
        with meter("journal"):
            records = [_journalled(each.body, each.accepted) for each in checked]
        with meter("decode"):
            parsed = [parse_traces(record.body) for record in records]
            decoded = [spans_of(request) for request in parsed]
        with meter("redact", engine="redact"):
            for record, spans in zip(records, decoded, strict=True):
                self._redaction.saw(record.body, spans)
            changed = self._redaction.mask()
        with meter("as sent"):
            for request, spans in zip(parsed, decoded, strict=True):
                self._received.add(request, spans)
            sent = self._received.take(changed)
        spans = [span for each in decoded for span in each]
        with meter("map"):
            events = [self._normalize(span) for span in spans]
        with meter("derive", engine="engine: read back"):
            self._batches += 1
            derived = self._deriver.derive(events, batch=self._batches, stored=self._batches - 1)
        with meter("write spans", engine="engine: spans"):
            self._sink.write(Batch(spans=spans, sent=sent))
        with meter("write events", engine="engine: events"):
            self._sink.write(Batch(events=derived.events))
        with meter("write runs", engine="engine: runs"):
            self._sink.write(Batch(runs=derived.runs, warnings=derived.warnings))
        with meter("merges", engine="merges"):
            while self._store.query("SELECT count() FROM system.merges")[0][0]:
                time.sleep(0.02)
        return len(spans)


def _walk(body: bytes) -> int:
    found = 0
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                found += len(
                    {
                        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
                        for each in span.attributes
                    }
                )
    return found


def _journalled(body: bytes, items: int) -> Record:
    pieces = encode(1, Header(time.time_ns(), items=items), body)
    head = pieces[0]
    length_size = next(place for place, byte in enumerate(head) if byte < 128) + 1
    return decode(b"".join((head[length_size:], *pieces[1:])))


def batches(workload: Workload) -> Iterator[list[ExportTraceServiceRequest]]:
    batch: list[ExportTraceServiceRequest] = []
    size = 0
    for request in requests(workload):
        batch.append(request)
        size += request.ByteSize()
        if size >= BATCH_BYTES or len(batch) * workload.spans >= BATCH_SPANS:
            yield batch
            batch, size = [], 0


def stages(workload: Workload, spans: int, where: Path | None) -> Costs:
    """What each stage costs, after a batch to warm up. `where` is a data directory with a store to write to."""
    source = batches(workload)
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open((where or Path(directory)) / "clickhouse")
        path = Hotpath(store)
        path.store(Meter(), next(source))
        calm_garbage_collection()  # as the collector does
        meter, stored = Meter(), 0
        while stored < spans:
            stored += path.store(meter, next(source))
        store.close()
    return meter.costs(stored)


# --------------------------------------------------------------------------- transports


def _protobuf(server: Server) -> Sender:
    return _http(server, "application/x-protobuf", ExportTraceServiceRequest.SerializeToString)


def _json(server: Server) -> Sender:
    return _http(server, "application/json", to_json)


def _http(server: Server, form: str, write: Callable[[Any], bytes]) -> Sender:
    client = httpx.Client(timeout=60)
    url = f"{server.endpoints['http']}/v1/traces"

    def sender(request: ExportTraceServiceRequest) -> Callable[[], None]:
        body = write(request)

        def send() -> None:
            while (
                answer := client.post(url, content=body, headers={"Content-Type": form})
            ).status_code == 503:
                time.sleep(0.2)
            answer.raise_for_status()

        return send

    return sender


def _grpc(server: Server) -> Sender:
    call = grpc.insecure_channel(server.endpoints["grpc"]).unary_unary(TRACES)

    def sender(request: ExportTraceServiceRequest) -> Callable[[], None]:
        body = request.SerializeToString()
        return lambda: call(body, timeout=60)

    return sender


TRANSPORTS = {"http-protobuf": _protobuf, "http-json": _json, "grpc": _grpc}


def transport(name: str, workload: Workload, spans: int) -> tuple[float, float, float]:
    """(microseconds of the collector's processor time a span, spans a second until all were stored, its memory at
    most in MiB)."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "data").start()
        sender = TRANSPORTS[name](server)
        source = requests(workload)
        next(source)
        made = list(islice(source, spans // workload.spans))
        total = sum(
            len(scope_spans.spans)
            for request in made
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
        )
        sends = [sender(request) for request in made]
        before, began = _processor_s(server), time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in pool.map(lambda send: send(), sends):
                pass
        server.settled(600)
        elapsed, used = time.monotonic() - began, _processor_s(server) - before
        peak = _status_line(server, "VmHWM") / 1024
        server.stop()
    return used / total * 1e6, total / elapsed, peak


def _processor_s(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks_per_s = 100
    return (int(fields[11]) + int(fields[12])) / ticks_per_s


def _status_line(server: Server, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


# --------------------------------------------------------------------------- the table


def total(costs: Costs) -> float:
    return sum(cost for stage, cost in costs.items() if stage not in APART)


def show(measured: dict[str, Costs]) -> None:
    names = list(next(iter(measured.values())))
    print(f"{'µs a span (ratio)':<20}" + "".join(f"{name:>18}" for name in measured))
    for stage in names:
        print(f"{stage:<20}" + "".join(_cell(costs[stage], costs) for costs in measured.values()))
    print(f"{'total':<20}" + "".join(_cell(total(costs), costs) for costs in measured.values()))


def _cell(cost: float, costs: Costs) -> str:
    return f"{cost:>11.1f} ({cost / costs[YARDSTICK]:4.2f})"


def ratios(measured: dict[str, Costs]) -> dict[str, dict[str, float]]:
    return {
        name: {
            stage: round(cost / costs[YARDSTICK], 3)
            for stage, cost in (costs | {"total": total(costs)}).items()
        }
        for name, costs in measured.items()
    }


def recorded() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    if RECORDED.exists():
        found = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def grown(measured: dict[str, Costs], by: float) -> list[str]:
    """Workloads that cost more than they did, and the stages to blame."""
    found = []
    for name, now in ratios(measured).items():
        then = recorded().get(name)
        if then is None or now["total"] <= then["total"] * by:
            continue
        blamed = sorted(now, key=lambda stage: then.get(stage, 0.0) - now[stage])[1:4]
        told = ", ".join(f"{stage} {then.get(stage, 0.0):.2f} → {now[stage]:.2f}" for stage in blamed)
        found.append(f"{name}: {then['total']:.2f} → {now['total']:.2f} of the yardstick ({told})")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the processor time of a span goes.")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--spans", type=int, default=40_000)
    parser.add_argument("--transports", action="store_true", help="measure the whole collector, too")
    parser.add_argument("--gate", type=float, help="exit 1 if a total grew by more than this factor")
    parser.add_argument("--store", type=Path, help="a data directory that is written to: give a copy")
    parser.add_argument("--record", action="store_true", help="write the ratios that the gate compares with")
    options = parser.parse_args()
    chosen = [WORKLOADS[name] for name in options.workloads.split(",")]
    measured = {workload.name: stages(workload, options.spans, options.store) for workload in chosen}
    show(measured)
    if options.transports:
        print(f"\n{'transport':<16}{'workload':<10}{'µs a span':>10}{'stored/s':>10}{'MiB':>6}")
        for name, workload in product(TRANSPORTS, chosen):
            cost, rate, peak = transport(name, workload, options.spans)
            print(f"{name:<16}{workload.name:<10}{cost:>10.1f}{rate:>10,.0f}{peak:>6.0f}", flush=True)
    print(f"\nmemory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")
    if options.record:
        RECORDED.write_text(json.dumps(recorded() | ratios(measured), indent=1) + "\n", encoding="utf-8")
    if options.gate and (found := grown(measured, options.gate)):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
