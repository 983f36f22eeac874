"""What must hold of whatever is sent."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import orjson
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.config import Settings
from collector.deriver.deriver import Deriver
from collector.intake.intake import Intake
from collector.journal import Header, Record
from collector.loops.watch import LoopWatch
from collector.otlp import Checked, Signal, check, decode_logs, decode_traces
from collector.otlp.check import _item_by_item
from collector.otlp.limits import DEFAULT, Limits
from collector.otlp.status import JSON, PROTOBUF
from collector.otlp.together import count_if_well
from collector.pipeline.mapped import SpanMapper, label
from collector.pipeline.sent import read_again
from collector.receivers.grpc import _METHODS, GrpcReceiver
from collector.understanding.mapping import mapping_document
from collector.understanding.prices import load_prices
from collector.understanding.understanding import Understanding
from mappers.model import Event
from sinks.base import Batch
from sinks.clickhouse.writer import ClickHouseSink
from tests.collector.receivers.posting import posted
from tests.collector.stored import Stored
from tests.fuzz.cases import GRPC, Case
from tests.fuzz.reading import read_alike

RECEIVED_NS = 1_790_000_000 * 10**9
RESPONSES = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
}
TIGHT = Limits(
    items=20,
    resources=3,
    scopes=5,
    item_bytes=5000,
    attributes=6,
    events=3,
    links=2,
    key_bytes=64,
    value_bytes=900,
)
"""So that small requests meet them too."""
PIECE_BYTES = 2000
"""So that they are parsed in pieces, as large ones are."""


Taken = Callable[[Signal, Header, bytes], None]
"""Told of what was journalled."""


def holds(case: Case, taken: Taken = lambda signal, header, body: None) -> float:
    """Returns how long the answer took, in seconds of the processor.

    Raises: AssertionError, or whatever is not caught where it should be.
    """
    with _nothing_uncaught():
        began = time.process_time()
        kept = _over_grpc(case) if case.content_type == GRPC else _over_http(case)
        took_s = time.process_time() - began
        for signal, header, body in kept:
            _UNDERSTANDING.understands(signal, header, body)
            taken(signal, header, body)
    judged(case)
    return took_s


def judged(case: Case) -> None:
    """The part of `holds` that takes a hundredth of the time: the check, and what is read of what it keeps.

    Raises: AssertionError, or whatever is not caught where it should be.
    """
    if case.signal is Signal.METRICS or case.is_json:
        return
    for limits in (DEFAULT, TIGHT):
        _judged_alike(case.signal, case.body, limits)
    read_alike(case.signal, case.body)


class _Kept(logging.Handler):
    """Faults that are caught and logged, so that they cost nothing but themselves."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.faults: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.faults.append(record)


@contextmanager
def _nothing_uncaught() -> Iterator[None]:
    kept = _Kept()
    logging.getLogger().addHandler(kept)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(kept)
        for record in kept.faults:
            raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


# --------------------------------------------------------------------------- the doors


class _Journal:
    """Keeps what it is given."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.kept: list[tuple[Signal, Header, bytes]] = []

    def append(self, header: Header, body: bytes, done: Any) -> None:
        self.kept.append((self.signal, header, body))
        done(None)


def _intake() -> tuple[Intake, list[tuple[Signal, Header, bytes]]]:
    """An intake, and what it will have journalled."""
    journals = {signal: _Journal(signal) for signal in (Signal.TRACES, Signal.LOGS)}
    kept = journals[Signal.TRACES].kept = journals[Signal.LOGS].kept
    return Intake(journals), kept  # type: ignore[arg-type]  # as far as it is used


def _over_http(case: Case) -> Sequence[tuple[Signal, Header, bytes]]:
    intake, kept = _intake()
    headers = {"Content_Type": case.content_type, "Content_Encoding": case.encoding}
    answer = posted(
        intake,
        case.body,
        path=f"/v1/{case.signal}",
        **{name: value for name, value in headers.items() if value},
    )
    content_type = PROTOBUF if "protobuf" in case.content_type.lower() else JSON
    assert answer.headers["content-type"] == content_type
    message = RESPONSES[case.signal] if answer.status == 200 else Status
    if content_type == PROTOBUF:
        message.FromString(answer.body)
    elif answer.status == 200:
        assert json.loads(answer.body).keys() <= {"partialSuccess"}
    else:
        assert json.loads(answer.body)["message"]
    assert answer.status in (200, 400, 413, 415), (answer.status, answer.body)
    assert intake.budget.taken == 0
    assert kept == [] or answer.status == 200
    return kept


class _AbortedError(Exception):
    """As grpc ends a call."""


class _Call:
    """A gRPC call, as far as the receiver looks at it."""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def time_remaining(self) -> None:
        return None

    def abort(self, code: grpc.StatusCode, message: str) -> None:
        raise _AbortedError(code, message)


_METHOD = {signal: method for method, signal in _METHODS.items()}


def _over_grpc(case: Case) -> Sequence[tuple[Signal, Header, bytes]]:
    intake, kept = _intake()
    receiver = _GRPC
    receiver._intake = intake
    handler = receiver._handlers[_METHOD[case.signal]]
    try:
        answer = handler.unary_unary(case.body, _Call())
    except _AbortedError as aborted:
        code, message = aborted.args
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert message
        assert kept == []
    else:
        RESPONSES[case.signal].FromString(answer)
    assert intake.budget.taken == 0
    return kept


_GRPC = GrpcReceiver(Intake({}), max_message_bytes=64 << 20, workers=1)


# --------------------------------------------------------------------------- the check


def _judged_alike(signal: Signal, body: bytes, limits: Limits) -> None:
    """A request that is found well as a whole is so item by item, and what is kept can be decoded and fits."""
    ways = (count_if_well(signal, body, limits), count_if_well(signal, body, limits, PIECE_BYTES))
    quickly = [count for count in ways if count is not None]
    try:
        checked = _item_by_item(signal, body, limits)
    except ValueError:
        assert not quickly
        return
    assert all(checked == Checked(body, count) for count in quickly)
    _fits(signal, checked, limits)
    again = check(signal, checked.body, limits)
    assert (again.accepted, again.rejected) == (checked.accepted, 0)


def _fits(signal: Signal, checked: Checked, limits: Limits) -> None:
    items = decode_traces(checked.body) if signal is Signal.TRACES else decode_logs(checked.body)
    assert len(items) == checked.accepted <= limits.items
    longest = limits.key_bytes + 40
    for item in items:
        events, links = getattr(item, "events", ()), getattr(item, "links", ())
        assert len(events) <= limits.events
        assert len(links) <= limits.links
        for owner in (item, *events, *links):
            assert len(owner.attributes) <= limits.attributes
            assert all(len(key.encode()) <= longest for key in owner.attributes)


# --------------------------------------------------------------------------- what comes after


class _Tables:
    """A store as far as the sink needs one: what is written must be columns of equal length that hold what they say."""

    reads_requests = False

    @staticmethod
    def new_query_id() -> str:
        return ""

    def insert_columns(self, table: str, columns: dict[str, Any], token: str, *, query_id: str = "") -> int:
        import pyarrow as pa

        made = pa.record_batch(columns)
        made.validate(full=True)
        return int(made.nbytes)


class _Meaning:
    """The way from the journal to the store, and to a reader."""

    def __init__(self) -> None:
        self._understanding = understanding = Understanding(Settings(), load_prices(None))
        self._normalizer, redaction = understanding.of_pipeline("traces")
        self._mapper = SpanMapper(self._normalizer, redaction, keep_sent=True)
        self._reader = understanding.record_reader(self._normalizer)
        _, self._redaction = understanding.of_pipeline("logs")
        self._faults: list[Any] = [{}, {}, 0]
        """Of conventions, of detectors, and in masking, until now."""
        self._sink = ClickHouseSink(_Tables())  # type: ignore[arg-type]  # as far as it is used

    def understands(self, signal: Signal, header: Header, body: bytes) -> None:
        record = Record(1, replace(header, received_ns=RECEIVED_NS), body)
        again = check(signal, body)  # also what came as JSON
        assert (again.accepted, again.rejected) == (header.items, 0)
        if signal is Signal.TRACES:
            self._spans(record)
        else:
            self._records(record)
        found = self._understanding.mappers()
        faults = [found["faults"], found["detectors"]["faults"], self._understanding.masked()["failures"]]
        known, self._faults = self._faults, faults
        assert faults == known

    def _spans(self, record: Record) -> None:
        items = self._mapper.decode(record)
        mapped = self._mapper.map(items)
        assert len(mapped.events) == len(items) == record.header.items
        alone = self._mapper.each([record])
        assert alone.faults == [""]
        for request in alone.requests:
            assert request is None or len(read_again([request])) == len(items)
        self._written(Batch(spans=items), mapped.events)
        document = mapping_document(items, (), self._normalizer, RECEIVED_NS)
        orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)

    def _records(self, record: Record) -> None:
        items = decode_logs(record.body)
        assert len(items) == record.header.items
        label(items, record)
        self._redaction.saw(record.body, items)
        self._redaction.mask()
        events = []
        for item in items:
            event = self._reader.event(item)
            item.run_id = event.run_id if event is not None else self._reader.run_of(item)
            events += [] if event is None else [event]
        self._written(Batch(logs=items), events)
        document = mapping_document((), items, self._normalizer, RECEIVED_NS)
        orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)

    def _written(self, batch: Batch, events: Sequence[Event]) -> None:
        store = Stored()
        deriver = Deriver(store, max_events=1000, watch=LoopWatch(self._understanding.engine, store))
        derived = deriver.derive(events, batch=1, stored=0)
        batch.events, batch.runs, batch.warnings = derived.events, derived.runs, derived.warnings
        self._sink.write(batch)


_UNDERSTANDING = _Meaning()
