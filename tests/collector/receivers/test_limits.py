"""Every limit on a request, at the limit and one beyond; and requests built to take a hundred times their size."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.intake import Intake, Outcome, Submission, Verdict
from collector.memory import Budget
from collector.otlp import Checked, Signal, check, decode_logs, decode_traces, transcode
from collector.otlp.limits import Limits, TooManyError
from collector.receivers import inflate
from tests.otlp_json import to_json

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


@both
@pytest.mark.parametrize("depth", [16, 17])
def test_deep_values_become_json_text(encoding: str, depth: int) -> None:
    made = request()
    value = span_of(made).attributes.add(key="deep").value
    for _ in range(depth):
        value = value.array_value.values.add()
    value.int_value = 7
    [span] = decode_traces(judged(encoding, made).body)
    found: Any = span.attributes["deep"]
    for _ in range(16):
        assert isinstance(found, list)
        [found] = found
    if depth == 16:
        assert found == 7
    else:
        assert "7" in found


def test_J15_json_nested_deeper_than_128_is_refused() -> None:
    def body(depth: int) -> bytes:
        value = '{"intValue":1}'
        for _ in range(depth):
            value = '{"arrayValue":{"values":[' + value + "]}}"
        span = (
            f'{{"traceId":"{"a" * 32}","spanId":"{"b" * 16}","attributes":[{{"key":"k","value":{value}}}]}}'
        )
        return f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'.encode()

    assert transcode(Signal.TRACES, body(30)).accepted == 1
    with pytest.raises(ValueError, match="too deep"):
        transcode(Signal.TRACES, body(120))


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


def test_gzip_members_are_limited() -> None:
    member = gzip.compress(b"x")
    assert inflate.inflate("gzip", member * 64, 1000) == b"x" * 64
    with pytest.raises(inflate.CorruptBodyError, match="members"):
        inflate.inflate("gzip", member * 65, 1000)


def test_a_zstd_window_of_gigabytes_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = frame.compress(b"x" * 1000) + frame.flush()
    with pytest.raises(inflate.CorruptBodyError):
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


def test_nothing_new_is_begun_while_the_process_is_short_of_memory() -> None:
    budget = Budget(1 << 20, resident_mark=1)
    begun = Intake({}, budget=budget).reserve()
    assert not begun.grow_to(10)
    begun.size = 1  # begun before memory became short
    budget.take(1, first=False)
    assert begun.grow_to(10)


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
from collector.intake import Intake, Submission
from collector.otlp import Signal
from collector.memory import resident_bytes

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
