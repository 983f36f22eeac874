"""Every limit on a request, at the limit and one beyond; and requests built to take a hundred times their size."""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.config import load
from collector.doors.gate import Gate
from collector.doors.guarded import Connections as OpenConnections
from collector.doors.guarded import HeadLimits
from collector.intake import inflate
from collector.intake.intake import Intake, Submission
from collector.intake.memory import Budget, available_bytes
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import Checked, NotOtlpError, Signal, check, decode_logs, decode_traces, transcode
from collector.otlp.decode import keep_levels
from collector.otlp.limits import Limits, TooManyError
from collector.otlp.status import PROTOBUF
from collector.otlp.wire import varint
from collector.receivers.grpc import Connections, GrpcReceiver
from collector.receivers.http import BodyLimits, HttpReceiver
from collector.receivers.opening import open_intake
from tests.listening import serving
from tests.otlp_json import to_json
from tests.sending import TRACES
from tests.waiting import PATIENCE_S, until

LIMITS = Limits(
    items=5, resources=4, scopes=6, item_bytes=4000, attributes=6, events=4, links=3, value_bytes=1000
)


def request(spans: int = 1, resources: int = 1, scopes: int = 1) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for _ in range(resources):
        resource = made.resource_spans.add()
        for _ in range(scopes):
            resource.scope_spans.add()
    for number in range(1, spans + 1):
        made.resource_spans[0].scope_spans[0].spans.add(
            trace_id=b"limits0123456789", span_id=number.to_bytes(8, "big"), name="span"
        )
    return made


def span_of(made: ExportTraceServiceRequest) -> Any:
    return made.resource_spans[0].scope_spans[0].spans[0]


def large(made: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """The same with so long a name that it is not parsed whole."""
    span_of(made).status.message = "x" * (300 << 10)
    return made


def judged(encoding: str, made: ExportTraceServiceRequest, limits: Limits = LIMITS) -> Checked:
    if encoding == "json":
        return transcode(Signal.TRACES, to_json(made), limits)
    return check(Signal.TRACES, made.SerializeToString(), limits)


both = pytest.mark.parametrize("encoding", ["protobuf", "json"])


@both
@pytest.mark.parametrize(("spans", "rejected"), [(5, 0), (6, 1)])
def test_spans_beyond_the_limit_are_rejected_alone(encoding: str, spans: int, rejected: int) -> None:
    checked = judged(encoding, request(spans))
    assert (checked.accepted, checked.rejected) == (5, rejected)
    assert len(decode_traces(checked.body)) == 5


@both
@pytest.mark.parametrize(("resources", "scopes"), [(5, 1), (1, 7)])
def test_a_request_with_too_many_resources_or_scopes_is_refused(
    encoding: str, resources: int, scopes: int
) -> None:
    roomy = Limits(resources=LIMITS.resources, scopes=LIMITS.scopes)
    fitting = request(resources=min(resources, 4), scopes=min(scopes, 6))
    assert judged(encoding, large(fitting), roomy).accepted == 1
    with pytest.raises(TooManyError, match="in one request"):
        judged(encoding, large(request(resources=resources, scopes=scopes)), roomy)


@both
@pytest.mark.parametrize(
    ("part", "limit", "dropped"),
    [
        ("attributes", LIMITS.attributes, "dropped_attributes_count"),
        ("events", LIMITS.events, "dropped_events_count"),
        ("links", LIMITS.links, "dropped_links_count"),
    ],
)
@pytest.mark.parametrize("over", [0, 2])
def test_parts_of_a_span_beyond_the_limit_are_dropped_and_counted(
    encoding: str, part: str, limit: int, dropped: str, over: int
) -> None:
    made = request()
    span = span_of(made)
    for number in range(limit + over):
        if part == "attributes":
            span.attributes.add(key=f"key-{number}").value.int_value = number
        elif part == "events":
            span.events.add(name=f"event-{number}")
        else:
            span.links.add(trace_id=bytes([number + 1]) * 16, span_id=b"12345678")
    setattr(span, dropped, 3)
    checked = judged(encoding, made)
    assert (checked.accepted, checked.rejected) == (1, 0)
    kept = span_of(ExportTraceServiceRequest.FromString(checked.body))
    assert len(getattr(kept, part)) == limit
    assert getattr(kept, dropped) == 3 + over
    if part == "attributes":
        assert {pair.key for pair in kept.attributes} == {f"key-{number}" for number in range(limit)}
    if part == "events":
        assert [event.name for event in kept.events] == [f"event-{number}" for number in range(limit)]


@both
def test_attributes_of_an_event_are_limited_too(encoding: str) -> None:
    made = request()
    event = span_of(made).events.add(name="event")
    for number in range(LIMITS.attributes + 1):
        event.attributes.add(key=f"key-{number}").value.string_value = "text"
    checked = judged(encoding, made)
    [kept] = span_of(ExportTraceServiceRequest.FromString(checked.body)).events
    assert len(kept.attributes) == LIMITS.attributes


@both
@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("size", [0, 300 << 10], ids=["small", "large"])
@pytest.mark.parametrize("limit", [128, 256, 20_000])
def test_long_keys_are_cut(encoding: str, limit: int, size: int, over: int) -> None:
    made = request(spans=3)
    span = made.resource_spans[0].scope_spans[0].spans[1]
    key = "ä" * (limit // 2) + "b" * over
    span.attributes.add(key="short").value.string_value = "x" * size
    span.attributes.add(key=key).value.string_value = "value"
    checked = judged(encoding, made, Limits(key_bytes=limit))
    assert (checked.accepted, checked.rejected) == (3, 0)
    [_, kept, _] = decode_traces(checked.body)
    marker = f"… [cut: {limit + 1} bytes]" if over else ""
    assert set(kept.attributes) == {"short", "ä" * (limit // 2) + marker}
    assert kept.attributes["ä" * (limit // 2) + marker] == "value"
    assert ("keys that are too long" in checked.warnings) is bool(over)


def test_long_keys_of_log_records_are_cut() -> None:
    made = ExportLogsServiceRequest()
    record = made.resource_logs.add().scope_logs.add().log_records.add()
    record.attributes.add(key="k" * 300).value.int_value = 1
    [kept] = decode_logs(check(Signal.LOGS, made.SerializeToString()).body)
    assert dict(kept.attributes) == {"k" * 256 + "… [cut: 300 bytes]": 1}


@both
def test_what_was_cut_is_not_cut_again(encoding: str) -> None:
    limits = Limits(value_bytes=300 << 10)
    made = request()
    span_of(made).attributes.add(key="k" * 300).value.string_value = "v" * (301 << 10)
    span_of(made).attributes.add(key="bytes").value.bytes_value = b"v" * (301 << 10)
    once = judged(encoding, made, limits)
    assert len(once.changes) == 2
    again = judged(encoding, ExportTraceServiceRequest.FromString(once.body), limits)
    assert again.changes == {}
    [first], [second] = decode_traces(once.body), decode_traces(again.body)
    assert dict(first.attributes) == dict(second.attributes)
    assert "k" * 256 + "… [cut: 300 bytes]" in second.attributes
    forged = "k" * 300 + "… [cut: 900 bytes]"
    span_of(made).attributes.add(key=forged)
    assert f"[cut: {len(forged.encode())} bytes]" in str(judged(encoding, made, limits).body)


@both
@pytest.mark.parametrize("over", [0, 1])
def test_long_values_are_cut_wherever_they_are(encoding: str, over: int) -> None:
    limits = Limits(value_bytes=300 << 10, item_bytes=8 << 20)
    text = "ä" * (150 << 10) + "b" * over
    made = request()
    span = span_of(made)
    span.attributes.add(key="text").value.string_value = text
    span.attributes.add(key="list").value.array_value.values.add().string_value = text
    nested = span.attributes.add(key="map").value.kvlist_value.values.add(key="inner")
    nested.value.bytes_value = b"x" * ((300 << 10) + over)
    span.events.add(name="event").attributes.add(key="text").value.string_value = text
    checked = judged(encoding, made, limits)
    assert checked.rejected == 0
    [kept] = decode_traces(checked.body)
    marker = f"… [cut: {(300 << 10) + 1} bytes]" if over else ""
    cut = "ä" * (150 << 10) + marker
    assert kept.attributes["text"] == cut
    assert kept.attributes["list"] == [cut]
    assert kept.attributes["map"] == {"inner": b"x" * (300 << 10) + marker.encode()}
    assert kept.events[0].attributes["text"] == cut


@both
def test_a_span_larger_than_the_limit_is_rejected_alone(encoding: str) -> None:
    limits = Limits(value_bytes=1000, item_bytes=300 << 10)
    made = request(2)
    for number in range(310):
        span_of(made).attributes.add(key=f"key-{number}").value.string_value = "x" * 1000
    checked = judged(encoding, made, limits)
    assert (checked.accepted, checked.rejected) == (1, 1)
    assert checked.reasons == f"1 × larger than {300 << 10} bytes"


@pytest.fixture
def levels() -> Iterator[Callable[[int], None]]:
    """Sets how deep values may be nested, for one test."""
    yield keep_levels
    keep_levels(Limits().value_depth)


@both
@pytest.mark.parametrize("limit", [3, 16, 30])
@pytest.mark.parametrize("over", [0, 1])
def test_deep_values_become_json_text(
    levels: Callable[[int], None], encoding: str, limit: int, over: int
) -> None:
    levels(limit)
    made = request()
    value = span_of(made).attributes.add(key="deep").value
    for _ in range(limit + over):
        value = value.array_value.values.add()
    value.int_value = 7
    [span] = decode_traces(judged(encoding, made, Limits(value_depth=limit)).body)
    found: Any = span.attributes["deep"]
    for _ in range(limit):
        assert isinstance(found, list)
        [found] = found
    assert isinstance(found, str) if over else found == 7
    assert "7" in str(found)


def nested(levels: int, within: str = '"x"') -> bytes:
    """A request of so many levels: most of them lie in a field that nobody knows."""
    own = 7
    deep = "[" * (levels - own) + within + "]" * (levels - own)
    span = f'{{"traceId":"{"a" * 32}","spanId":"{"b" * 16}","unknown":{deep}}}'
    return f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'.encode()


@pytest.mark.parametrize("limit", [32, 128, 512])
@pytest.mark.parametrize("within", ['"x"', '"]]}"', '"[[{"'], ids=["plain", "closing", "opening"])
def test_J15_json_nested_deeper_than_the_limit_is_refused(limit: int, within: str) -> None:
    limits = Limits(json_depth=limit)
    assert transcode(Signal.TRACES, nested(limit, within), limits).accepted == 1
    with pytest.raises(NotOtlpError, match=f"too deep: more than {limit} levels"):
        transcode(Signal.TRACES, nested(limit + 1, within), limits)


def test_J15_a_value_nested_too_deep_is_refused_too() -> None:
    def body(depth: int) -> bytes:
        value = '{"intValue":1}'
        for _ in range(depth):
            value = '{"arrayValue":{"values":[' + value + "]}}"
        return (
            nested(8, value)
            .replace(b'"unknown":[', b'"attributes":[{"key":"k","value":')
            .replace(b"]}]}]}]}", b"}]}]}]}]}")
        )

    assert transcode(Signal.TRACES, body(30)).accepted == 1
    with pytest.raises(NotOtlpError, match="too deep"):
        transcode(Signal.TRACES, body(60))


@pytest.mark.parametrize("over", [0, 1])
def test_values_of_json_are_counted_where_they_are_no_text(over: int) -> None:
    limit = 5000
    own = 11  # brackets and commas around the list
    text = "{[,]}" * 10_000
    listed = "[" + ",".join(["1"] * (limit - own + over)) + "]"
    body = nested(8, listed).replace(b'"resourceSpans"', b'"text":"%b","resourceSpans"' % text.encode())
    limits = Limits(json_values=limit)
    if over:
        with pytest.raises(TooManyError, match="more than 5000 JSON values"):
            transcode(Signal.TRACES, body, limits)
    else:
        assert transcode(Signal.TRACES, body, limits).accepted == 1


def test_integers_of_more_than_4300_digits_are_refused() -> None:
    assert transcode(Signal.TRACES, nested(8, "1" * 4300)).accepted == 1
    with pytest.raises(NotOtlpError, match="4300 digits"):
        transcode(Signal.TRACES, nested(8, "1" * 4301))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_inflated_bodies_at_the_limit_are_taken(pack: Any) -> None:
    name = "gzip" if pack is gzip.compress else "zstd"
    text = json.dumps(list(range(50_000))).encode()
    assert inflate.inflate(name, pack(text), len(text)) == text
    with pytest.raises(inflate.TooLargeError, match="larger than"):
        inflate.inflate(name, pack(text), len(text) - 1)


def test_what_is_packed_tighter_than_any_trace_is_refused() -> None:
    megabyte = gzip.compress(b"\0" * (1 << 20))
    assert len(inflate.inflate("gzip", megabyte, 64 << 20)) == 1 << 20
    with pytest.raises(inflate.TooLargeError, match="200 times"):
        inflate.inflate("gzip", gzip.compress(b"\0" * (1 << 20) + b"\0"), 64 << 20)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_how_tight_that_is_can_be_set(pack: Any) -> None:
    text = random.Random(1).randbytes(40_000) + b"\0" * (4 << 20)
    packed = pack(text)
    name = "gzip" if pack is gzip.compress else "zstd"
    fits = -(-len(text) // len(packed))
    assert 50 < fits < 200
    for ratio, taken in ((fits, True), (fits - 1, False)):
        outcomes: list[Outcome] = []
        submission = Submission(Signal.TRACES, packed, "http", encoding=name)
        Intake({}, limits=Limits(inflate_ratio=ratio)).take(submission, outcomes.append)
        assert ("times its size" not in outcomes[0].message) == taken


@pytest.mark.parametrize(
    ("encoding", "pack", "called"),
    [("gzip", gzip.compress, "members"), ("zstd", zstandard.compress, "frames")],
    ids=["gzip", "zstd"],
)
def test_gzip_members_and_zstd_frames_are_limited(
    encoding: str, pack: Callable[[bytes], bytes], called: str
) -> None:
    member = pack(b"x")
    assert inflate.inflate(encoding, member * 64, 1000) == b"x" * 64
    assert len(inflate.inflate(encoding, pack(b"x" * 700) * 64, 64 * 700)) == 64 * 700
    with pytest.raises(inflate.CorruptBodyError, match=called):
        inflate.inflate(encoding, member * 65, 1000)
    with pytest.raises(inflate.TooLargeError):
        inflate.inflate(encoding, member * 11, 10)


@pytest.mark.parametrize(("window_log", "taken"), [(23, True), (24, False), (27, False)])
def test_a_zstd_window_of_more_than_8_mib_is_refused(window_log: int, *, taken: bool) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = frame.compress(b"x" * 1000) + frame.flush()
    if taken:
        assert inflate.inflate("zstd", body, 64 << 20) == b"x" * 1000
    else:
        with pytest.raises(inflate.CorruptBodyError, match=r"memory|window|large"):
            inflate.inflate("zstd", body, 64 << 20)


# --------------------------------------------------------------------------- memory


def test_requests_share_a_budget_and_give_it_back() -> None:
    budget = Budget(1000)
    intake = Intake({}, budget=budget)
    first, second = intake.reserve(), intake.reserve()
    assert first.grow_to(600)
    assert not second.grow_to(600)
    assert second.grow_to(400)
    assert not second.grow_to(401)
    first.release()
    first.release()
    assert second.grow_to(1000)
    second.release()
    assert budget.taken == 0


def test_a_request_larger_than_the_budget_is_taken_alone() -> None:
    budget = Budget(10)
    alone = Intake({}, budget=budget).reserve()
    assert alone.grow_to(1000)
    assert not Intake({}, budget=budget).reserve().grow_to(1)


def test_a_budget_can_change_while_it_is_used() -> None:
    budget = Budget(1000)
    budget.used = lambda: 500
    first, second = (Intake({}, budget=budget).reserve() for _ in range(2))
    assert first.grow_to(800)
    budget.bound(2000)
    assert second.grow_to(1200)
    budget.bound(1000, refuse_bytes=400)
    first.release()
    assert not Intake({}, budget=budget).reserve().grow_to(1)
    budget.bound(2000, refuse_bytes=600)
    budget._looked_at = 0  # as if it were a second later
    assert Intake({}, budget=budget).reserve().grow_to(1)


def test_while_memory_is_short_nothing_is_begun_and_then_nothing_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.intake.memory.LOOK_EVERY_S", 0.0)
    budget, let_go = Budget(1 << 20, refuse_bytes=750, shed_bytes=900), [0]

    def shed() -> None:
        let_go[0] += 1

    budget.shed.append(shed)
    intake = Intake({}, budget=budget)
    begun = intake.reserve()
    size = 0
    # (used, a request is begun, one that has begun goes on, idle connections are closed)
    for used, begins, goes_on, closes in [
        (750, True, True, False),
        (751, False, True, False),
        (700, False, True, False),
        (697, True, True, False),
        (900, False, True, False),
        (901, False, False, True),
        (840, False, False, True),
        (836, False, True, False),
        (600, True, True, False),
    ]:
        budget.used = partial(int, used)
        size, closed = size + 1, let_go[0]
        assert begun.grow_to(size) == goes_on if size > 1 else begun.grow_to(1)
        new = intake.reserve()
        assert new.grow_to(1) == begins, used
        assert (let_go[0] > closed) == closes, used
        new.release()


def test_the_marks_of_memory_are_shares_of_its_limit() -> None:
    marks = []
    for sets in ([], ["memory.refuse_percentage=95"], ["memory.shed_percentage=80"]):
        settings = load(sets=["memory.limit=1000MiB", *sets])
        budget = open_intake(settings, {}, Gate(None)).budget
        marks.append((budget._refuse_bytes >> 20, budget._shed_bytes >> 20))
    assert marks == [(750, 900), (950, 950), (750, 800)]


def test_idle_connections_are_closed_when_memory_is_short() -> None:
    table = OpenConnections(HeadLimits())
    connections: list[Any] = [Idle(1.0), Idle(2.0, is_idle=False), Idle(3.0)]
    for connection in connections:
        table.add("10.0.0.1", connection)
    table.close_idle()
    assert [connection.is_closed for connection in connections] == [True, False, True]


@pytest.mark.parametrize(
    ("own", "files", "most"),
    [
        ("0::/", {"memory.max": "512"}, 512),
        ("0::/", {"memory.max": "max"}, None),
        (
            "0::/system.slice/eddyline.service",
            {"system.slice/eddyline.service/memory.max": "400", "system.slice/memory.max": "300"},
            300,
        ),
        ("0::/system.slice/eddyline.service", {"system.slice/eddyline.service/memory.max": "max"}, None),
        ("5:cpu,memory:/pod\n4:pids:/pod", {"memory/pod/memory.limit_in_bytes": "256"}, 256),
        ("5:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("", {}, None),
    ],
    ids=["container", "no limit", "unit in a slice", "unit", "version 1", "version 1 without", "none"],
)
def test_the_limit_of_memory_is_the_least_of_the_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], most: int | None
) -> None:
    (tmp_path / "own").write_text(own + "\n" if own else "")
    for name, text in files.items():
        file = tmp_path / "cgroups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    monkeypatch.setattr("collector.intake.memory._CGROUPS", tmp_path / "nowhere")
    machine = available_bytes()
    monkeypatch.setattr("collector.intake.memory._CGROUPS", tmp_path / "cgroups")
    monkeypatch.setattr("collector.intake.memory._OWN_CGROUPS", tmp_path / "own")
    assert available_bytes() == (most or machine)


@pytest.mark.parametrize(
    "request_made",
    [
        Submission(Signal.TRACES, request().SerializeToString(), "http"),
        Submission(Signal.TRACES, b"nonsense", "http"),
        Submission(Signal.TRACES, gzip.compress(b"\0" * (2 << 20)), "http", encoding="gzip"),
        Submission(Signal.TRACES, b"x", "http", encoding="br"),
    ],
)
def test_a_request_gives_its_memory_back_however_it_ends(request_made: Submission) -> None:
    intake = Intake({})
    outcomes: list[Outcome] = []
    request_made.reservation = intake.reserve()
    assert request_made.reservation.grow_to(len(request_made.body))
    intake.take(request_made, outcomes.append)
    assert (len(outcomes), intake.budget.taken) == (1, 0)


def test_an_inflated_body_needs_room_too() -> None:
    body = request().SerializeToString() * 1
    body += b"\x1a\x80\x08" + b"\0" * 1024  # an unknown field that packs well
    packed = gzip.compress(body)
    intake = Intake({}, budget=Budget(len(body) + 10))
    other = intake.reserve()
    assert other.grow_to(100)
    outcomes: list[Outcome] = []
    submission = Submission(Signal.TRACES, packed, "http", encoding="gzip", reservation=intake.reserve())
    assert submission.reservation is not None
    assert submission.reservation.grow_to(len(packed))
    intake.take(submission, outcomes.append)
    assert outcomes[0].verdict is Verdict.REFUSED
    other.release()
    submission.reservation = intake.reserve()
    intake.take(submission, outcomes.append)
    assert outcomes[1].verdict is Verdict.ACCEPTED


# --------------------------------------------------------------------------- bombs

BOMB = """
import sys, time
from collector.intake.intake import Intake, Submission
from collector.otlp import Signal
from collector.intake.memory import resident_bytes

def field(number, body):
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size & 127 | 128); size >>= 7
    length.append(size)
    return bytes([number << 3 | 2]) + bytes(length) + body

MB = 1 << 17  # bodies of 8 MiB; of 64 MiB they take eight times as long to make
IDS = field(1, b"0123456789abcdef") + field(2, b"01234567")
span = lambda inner: field(1, field(2, field(2, IDS + inner)))
bombs = {
    "resources": lambda: field(1, b"") * (32 * MB),
    "scopes": lambda: field(1, field(2, b"") * (31 * MB)),
    "spans": lambda: field(1, field(2, field(2, b"") * (30 * MB))),
    "small spans": lambda: field(1, field(2, field(2, b"") * (100 << 10))),
    "links": lambda: span(field(13, b"") * (30 * MB)),
    "events": lambda: span(field(11, b"") * (30 * MB)),
    "attributes": lambda: span(field(9, b"") * (30 * MB)),
    "array": lambda: span(field(9, field(1, b"k") + field(2, field(5, field(1, b"") * (30 * MB))))),
    "json objects": lambda: b'{"resourceSpans":[' + b"{}," * (20 * MB) + b"{}]}",
    "json keys": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(1_200_000)) + b"}",
    "json nesting": lambda: b"[" * (32 * MB),
    "json integer": lambda: b'{"a":' + b"1" * (10 * MB) + b"}",
}
intake = Intake({})
intake.take(Submission(Signal.TRACES, b"warm", "http"), lambda outcome: None)
for name, made in bombs.items():
    body = made()
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")  # the peak counts from here on
    before, started, said = resident_bytes(), time.process_time(), []
    intake.take(Submission(Signal.TRACES, body, "http", json=name.startswith("json")), said.append)
    spent = time.process_time() - started
    peak = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(said[0].verdict.value, (peak - before) >> 20, round(spent, 2), name, sep="\\t")
"""


def test_T10_a_bomb_is_refused_before_it_goes_off() -> None:
    done = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert {name: verdict for verdict, _, _, name in lines} == {
        "resources": "too_large",
        "scopes": "too_large",
        "spans": "too_large",
        "small spans": "bad",
        "links": "too_large",
        "events": "too_large",
        "attributes": "too_large",
        "array": "too_large",
        "json objects": "too_large",
        "json keys": "too_large",
        "json nesting": "too_large",
        "json integer": "bad",
    }
    assert {name: int(peak) for _, peak, _, name in lines if int(peak) > 150} == {}


# --------------------------------------------------------------------------- doors


@contextmanager
def grpc_door(connections: Connections | None = None, *, max_bytes: int = 1 << 20) -> Iterator[str]:
    receiver = GrpcReceiver(
        Intake({}, max_body_bytes=max_bytes),
        max_message_bytes=max_bytes,
        workers=2,
        connections=connections or Connections(),
    )
    port = receiver.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        receiver.stop(0)


def connected(address: str) -> grpc.Channel:
    """A connection of its own."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_H15_G3_a_body_is_taken_up_to_the_limit_on_both_transports(over: int, *, packed: bool) -> None:
    limit = 50_000
    body = request().SerializeToString()
    unknown = limit + over - len(body) - 5
    body += b"\xba\x3e" + varint(unknown) + bytes(unknown)  # a field that nobody knows
    assert len(body) == limit + over
    headers = {"Content-Type": PROTOBUF} | ({"Content-Encoding": "gzip"} if packed else {})
    receiver = HttpReceiver(Intake({}, max_body_bytes=limit), BodyLimits(max_bytes=limit))
    with serving(receiver) as url:
        sent = gzip.compress(body) if packed else body
        answer = httpx.post(f"{url}/v1/traces", content=sent, headers=headers)
    assert answer.status_code == (413 if over else 200)
    compression = grpc.Compression.Gzip if packed else grpc.Compression.NoCompression
    with grpc_door(max_bytes=limit) as address, connected(address) as channel:
        call = channel.unary_unary(TRACES)
        assert ended(lambda: call(body, timeout=PATIENCE_S, compression=compression)) == (
            "RESOURCE_EXHAUSTED" if over else "OK"
        )


def ended(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_metadata_of_a_call_is_taken_up_to_the_limit() -> None:
    limit = 32 << 10
    with grpc_door(Connections(max_header_bytes=limit)) as address, connected(address) as channel:

        def call(length: int) -> object:
            return channel.unary_unary(TRACES)(b"", metadata=[("x-large", "x" * length)])

        with pytest.raises(grpc.RpcError, match=r"metadata size exceeds") as error:
            call(limit - 100)
        found = re.search(r"\((\d+) vs\. (\d+)\)", error.value.details())
        assert found is not None
        most = limit - 100 - (int(found[1]) - limit)
        assert ended(lambda: call(most)) == "OK"
        assert ended(lambda: call(most + 1)) == "RESOURCE_EXHAUSTED"


def test_connections_over_grpc_are_limited() -> None:
    with grpc_door(Connections(max_open=2)) as address:
        opened = [connected(address) for _ in range(3)]

        def call(channel: grpc.Channel, timeout: float = PATIENCE_S) -> str:
            return ended(lambda: channel.unary_unary(TRACES)(b"", timeout=timeout))

        assert [call(channel) for channel in opened] == ["OK", "OK", "UNAVAILABLE"]
        opened[0].close()
        until(lambda: call(opened[2], 1) == "OK")
        for channel in opened[1:]:
            channel.close()


def test_T12_who_connects_to_the_grpc_port_and_says_nothing_is_cut() -> None:
    with grpc_door(Connections(connect_timeout=0.3)) as address:
        host, _, port = address.partition(":")
        started = time.monotonic()
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as silent:
            while silent.recv(1000):
                pass
        assert time.monotonic() - started > 0.2


class Idle:
    """A connection as the table of a listener sees it."""

    def __init__(self, since: float, *, is_idle: bool = True) -> None:
        self.idle_since, self.is_idle = since, is_idle
        self.transport = self
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("limits", "peers"),
    [
        (HeadLimits(max_per_peer=3), ["10.0.0.1"] * 3),
        (HeadLimits(max_connections=3), ["10.0.0.1", "10.0.0.2", "127.0.0.1"]),
    ],
    ids=["of one peer", "in all"],
)
def test_one_connection_more_costs_the_one_that_is_idle_for_the_longest_time(
    limits: HeadLimits, peers: list[str]
) -> None:
    table = OpenConnections(limits)
    connections: list[Any] = [Idle(1.0, is_idle=False), Idle(2.0), Idle(3.0), Idle(4.0, is_idle=False)]
    busy, oldest, newer, latest = connections
    for peer, connection in zip(peers, (newer, busy, oldest), strict=True):
        assert table.add(peer, connection)
    assert not oldest.is_closed
    assert table.add("10.0.0.1", latest)
    assert [one.is_closed for one in (busy, oldest, newer)] == [False, True, False]


def test_connections_of_a_peer_who_has_none_idle_are_refused_and_others_are_not() -> None:
    table = OpenConnections(HeadLimits(max_per_peer=2))
    busy: list[Any] = [Idle(1.0, is_idle=False) for _ in range(8)]
    taken = [table.add(peer, busy.pop()) for peer in ["10.0.0.1"] * 3 + ["10.0.0.2"] + ["127.0.0.1"] * 3]
    assert taken == [True, True, False, True, True, True, True]
