"""Spans that the engine decodes by itself are the rows that we make of decoded ones."""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from collector.otlp import Signal, check, messages, parse_traces, spans_of, transcode
from collector.otlp.wire import nested, varint
from collector.pipeline.sent import Received
from mappers.model import Span
from sinks.base import Batch, PermanentError, RetryableError, Sent
from sinks.clickhouse import ClickHouseSink, Store
from sinks.clickhouse.columns import LATEST_NS
from tests.corpus import captured, scenarios
from tests.received import received_requests
from tests.sinks.stored_spans import rows

NUMBERS = itertools.count(1)


def received(bodies: Sequence[bytes], owner: str) -> tuple[list[Span], Sent]:
    """Of this tenant and project."""
    return received_requests(bodies, lambda number, span: (owner, owner))


@pytest.fixture(autouse=True)
def however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.pipeline.sent.FEW_SPANS", 0)


@pytest.fixture
def sink(store: Store) -> ClickHouseSink:
    assert store.reads_requests
    return ClickHouseSink(store)


def both_ways(sink: ClickHouseSink, store: Store, bodies: Sequence[bytes]) -> list[list[tuple[str, Any]]]:
    """The rows of these requests; the test fails if the two ways differ."""
    number = next(NUMBERS)
    spans, _ = received(bodies, f"decoded-{number}")
    sink.write(Batch(spans=spans))
    spans, sent = received(bodies, f"sent-{number}")
    assert not sent.rest
    store.insert_requests(sent.requests)
    found = rows(store, f"sent-{number}")
    assert len(found) == len(spans)
    for row, expected in zip(found, rows(store, f"decoded-{number}"), strict=True):
        assert row == expected
    return found


def request(*, name: str = "span", **values: Any) -> Any:
    """A request with one span with these attributes; values are fields of an AnyValue."""
    made = messages.TracesRequest()
    span = (
        made.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=next(NUMBERS).to_bytes(16), span_id=b"\1" * 8, name=name, start_time_unix_nano=10**18
        )
    )
    for key, fields in values.items():
        put(span.attributes[key], fields)
    return made


def put(value: Any, fields: dict[str, Any]) -> None:
    for which, content in fields.items():
        if which == "array_value":
            value.array_value.SetInParent()
            for item in content:
                put(value.array_value.values.add(), item)
        else:
            setattr(value, which, content)


def span_of(made: Any) -> Any:
    return made.resource_spans[0].scope_spans[0].spans[0]


TEXTS = [
    "",
    "plain",
    'q"\\/',
    "".join(map(chr, range(32))),
    "\x7f\u2028\u2029\ufeff",
    "日本\U0001f600",
    "a\0b",
]
REALS = [
    0.0,
    -0.0,
    1.0,
    0.1,
    -2.5,
    1e-5,
    1e-6,
    9.9e-7,
    1e-7,
    5e-324,
    1e15,
    2.0**53,
    123456789012345680000.0,
    1e21,
    1.5e22,
    -1e300,
    math.pi,
    math.nan,
    math.inf,
    -math.inf,
]
VALUES: list[dict[str, Any]] = [
    {},
    *({"string_value": text} for text in TEXTS),
    *({"double_value": real} for real in REALS),
    *({"int_value": number} for number in (0, 1, -1, 2**63 - 1, -(2**63))),
    {"bool_value": True},
    {"bool_value": False},
    {"bytes_value": b""},
    {"bytes_value": bytes(range(256))},
    {"array_value": []},
]


def test_captured_requests_are_the_same_rows(sink: ClickHouseSink, store: Store) -> None:
    # Monocle puts lists into span events, which are stored as they were decoded, never as they were sent.
    told = [scenario for scenario in (*scenarios(), *captured()) if not scenario.name.startswith("monocle/")]
    files = {file for scenario in told for file in scenario.traces}
    bodies = []
    for content in (file.read_bytes() for file in sorted(files)):
        judge = transcode if content.lstrip()[:1] == b"{" else check
        bodies.append(judge(Signal.TRACES, content).body)
    assert len(both_ways(sink, store, bodies)) > 2_000


def test_every_form_of_a_value_is_the_same_text(sink: ClickHouseSink, store: Store) -> None:
    made = request(**{f"k{number}": value for number, value in enumerate(VALUES)})
    put(span_of(made).attributes["list"], {"array_value": VALUES[:-1]})
    put(span_of(made).attributes[""], {"string_value": "no name"})
    [row] = both_ways(sink, store, [messages.serialized(made)])
    attributes = dict(row)["SpanAttributes"]
    assert attributes["k0"] == ""
    assert attributes[f"k{len(VALUES) - 1}"] == "[]"
    assert attributes["list"].startswith('[null,"","plain"')


def test_odd_spans_are_the_same_rows(sink: ClickHouseSink, store: Store) -> None:
    many = []
    for kind, code in itertools.product((-1, 0, 1, 5, 6, 2**31 - 1), (-1, 0, 1, 2, 3)):
        made = request(name=f"{kind} {code}")
        span_of(made).kind, span_of(made).status.code = kind, code
        many.append(made)
    for parent in (b"", bytes(8), b"\1", b"\2" * 8, b"\3" * 9):
        made = request(name=parent.hex())
        span_of(made).parent_span_id = parent
        many.append(made)
    for start, end in ((1, 0), (5, 4), (LATEST_NS, LATEST_NS), (7, 9)):
        made = request(name=f"{start} {end}")
        span_of(made).start_time_unix_nano, span_of(made).end_time_unix_nano = start, end
        many.append(made)
    made = request(name="parts", a={"string_value": "b"})
    span = span_of(made)
    span.trace_state, span.status.message, span.flags = "a=b", "it broke", 257
    for time in (0, 1, 2**64 - 1):
        put(span.events.add(time_unix_nano=time, name="e").attributes["x"], {"int_value": time % 7})
    for identity in (b"", b"\1\2", b"\5" * 16):
        put(span.links.add(trace_id=identity, span_id=identity).attributes["y"], {"bool_value": True})
    many.append(made)
    made = request(name="shared")
    resource = made.resource_spans[0]
    put(resource.resource.attributes["service.name"], {"array_value": [{"string_value": "odd"}]})
    resource.schema_url = resource.scope_spans[0].schema_url = "https://example.org"
    scope = resource.scope_spans[0].scope
    scope.name, scope.version = "scope", "1"
    put(scope.attributes["z"], {"double_value": 1.5})
    resource.scope_spans.add().spans.add(trace_id=b"\7" * 16, span_id=b"\7" * 8, start_time_unix_nano=1)
    made.resource_spans.add()
    many.append(made)
    both_ways(sink, store, [messages.serialized(made) for made in many])


def test_what_is_said_twice_holds_as_it_was_said_last(sink: ClickHouseSink, store: Store) -> None:
    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    def attribute(key: bytes, value: bytes) -> bytes:
        return field(9, field(1, key) + field(2, value))

    text, number = field(1, b"text"), varint(3 << 3) + varint(7)
    start = varint(7 << 3 | 1) + struct.pack("<Q", 10**18)
    identity = field(1, b"\x0a" * 16) + field(2, b"\x0b" * 8) + start
    unknown = field(99, b"x") + varint(10 << 3) + varint(3)
    span = (
        identity
        + attribute(b"twice", text)
        + attribute(b"twice", number)
        + attribute(b"both", text + number)
        + attribute(b"both too", number + text)
        + field(9, field(2, text) + field(1, b"key last"))
        + field(9, field(1, b"no value"))
        + field(5, b"first name")
        + field(5, b"last name")
        + unknown
        + field(15, field(2, b"message"))
        + field(15, varint(3 << 3) + varint(2))
    )
    scope_spans = field(1, field(1, b"scope")) + field(1, field(2, b"2")) + field(2, span)
    resource = field(1, field(1, field(1, b"service.name") + field(2, text)))
    body = field(1, resource + field(2, scope_spans) + field(1005, b"forged")) + field(1004, b"forged")
    [row] = both_ways(sink, store, [body])
    found = dict(row)
    assert found["SpanName"] == "last name"
    assert (found["StatusCode"], found["StatusMessage"]) == ("Error", "message")
    assert found["SpanAttributes"] == {
        "twice": "7",
        "both": "7",
        "both too": "text",
        "key last": "text",
        "no value": "",
    }


@pytest.mark.parametrize("place", ["span", "list", "event", "resource"])
def test_values_within_values_do_not_come_this_way(place: str) -> None:
    made = request()
    if place == "span":
        value = span_of(made).attributes["x"]
    elif place == "list":
        value = span_of(made).attributes["x"].array_value.values.add()
    elif place == "event":
        value = span_of(made).events.add().attributes["x"]
    else:
        value = made.resource_spans[0].resource.attributes["x"]
    value.kvlist_value.values.add(key="k").value.string_value = "v"
    spans, sent = received([messages.serialized(made), messages.serialized(request())], "nested")
    assert sent.rest == spans[:1]
    assert len(sent.requests) == 1


@pytest.mark.parametrize("place", ["scope", "event", "link"])
def test_lists_outside_of_spans_and_resources_do_not_come_this_way(place: str) -> None:
    made = request()
    span = span_of(made)
    owner = {
        "scope": lambda: made.resource_spans[0].scope_spans[0].scope,
        "event": lambda: span.events.add(),
        "link": lambda: span.links.add(),
    }[place]()
    put(owner.attributes["x"], {"array_value": [{"string_value": "v"}]})
    spans, sent = received([messages.serialized(made), messages.serialized(request())], "listed")
    assert sent.rest == spans[:1]
    assert len(sent.requests) == 1


def test_every_form_of_a_value_is_the_same_text_everywhere(sink: ClickHouseSink, store: Store) -> None:
    made = request()
    span, in_scope = span_of(made), made.resource_spans[0].scope_spans[0]
    single = [value for value in VALUES if "array_value" not in value]
    for number, value in enumerate(single):
        for owner in (in_scope.scope, span.events.add(), span.links.add()):
            put(owner.attributes[f"k{number}"], value)
    for number, value in enumerate(VALUES):
        put(made.resource_spans[0].resource.attributes[f"k{number}"], value)
    [row] = both_ways(sink, store, [messages.serialized(made)])
    assert len(dict(row)["ScopeAttributes"]) == len(single)


def test_a_list_of_lists_does_not_come_this_way() -> None:
    made = request(x={"array_value": [{"string_value": "a"}]})
    span_of(made).attributes["x"].array_value.values.add().array_value.values.add(int_value=1)
    spans, sent = received([messages.serialized(made)], "nested")
    assert sent.rest == spans


def test_a_batch_under_a_known_token_leaves_no_second_row(sink: ClickHouseSink, store: Store) -> None:
    owner = f"token-{next(NUMBERS)}"
    nested = request(name="nested")
    span_of(nested).attributes["x"].kvlist_value.values.add(key="k").value.int_value = 1
    bodies = [messages.serialized(made) for made in (request(name="plain"), nested)]
    spans, sent = received(bodies, owner)
    for _ in range(3):
        sink.write(Batch(spans=spans, sent=sent, token=f"{owner}-a"))
    assert {dict(row)["SpanName"] for row in rows(store, owner)} == {"plain", "nested"}
    assert len(rows(store, owner)) == 2
    spans, sent = received([messages.serialized(request(name="other"))], owner)
    sink.write(Batch(spans=spans, sent=sent, token=f"{owner}-b"))
    assert len(rows(store, owner)) == 3


@pytest.mark.parametrize("way", ["decoded", "sent"])
def test_T6_what_the_engine_can_not_write_is_told(sink: ClickHouseSink, store: Store, way: str) -> None:
    spans, sent = received([request().SerializeToString()], f"refused-{way}")
    batch = Batch(spans=spans, sent=sent if way == "sent" else None, token=f"refused-{way}")
    sink.write(Batch(spans=received([request().SerializeToString()], "before")[0]))  # so that there is a part
    store.command("ALTER TABLE otel.otel_traces MODIFY SETTING max_parts_in_total = 1")
    try:
        with pytest.raises(RetryableError, match="Too many parts"):
            sink.write(batch)
    finally:
        store.command("ALTER TABLE otel.otel_traces RESET SETTING max_parts_in_total")
    assert not rows(store, f"refused-{way}")
    batch.again = True
    sink.write(batch)
    assert len(rows(store, f"refused-{way}")) == 1


def test_a_request_that_the_engine_does_not_read_is_stored_all_the_same(
    sink: ClickHouseSink, store: Store
) -> None:
    owner = f"unread-{next(NUMBERS)}"
    spans, sent = received([messages.serialized(request())], owner)
    sink.write(Batch(spans=spans, sent=Sent([*sent.requests, b"\x0a\xff"], ())))
    assert {dict(row)["SpanName"] for row in rows(store, owner)} == {"span"}


@pytest.mark.parametrize(
    "odd",
    [
        varint(9 << 3) + varint(5),
        nested(9, nested(1, b"bool"), nested(2, nested(2, b"text"))),
        nested(9, nested(1, b"two"), nested(2, nested(2, b"text"), nested(1, b"text"))),
        nested(9, nested(1, b"real"), nested(2, varint(3 << 3 | 1) + bytes(8))),
        varint(99 << 3 | 3) + varint(99 << 3 | 4),
    ],
    ids=[
        "a number for attributes",
        "a text for a bool",
        "a text for a bool and a text",
        "a real for an int",
        "a group",
    ],
)
def test_fields_of_another_form_than_declared_are_left_out(
    sink: ClickHouseSink, store: Store, odd: bytes
) -> None:
    def span(number: int) -> bytes:
        identity = nested(1, next(NUMBERS).to_bytes(16)) + nested(2, number.to_bytes(8))
        return nested(2, identity, varint(7 << 3 | 1) + bytes(7) + b"\1", odd)

    body = nested(1, nested(2, span(1), varint(2 << 3 | 1) + bytes(8), span(2)))
    assert len(both_ways(sink, store, [check(Signal.TRACES, body).body])) == 2
    unread = nested(1, nested(2, span(3))) + nested(1004, f"odd-{next(NUMBERS)}".encode())
    with contextlib.suppress(PermanentError):  # never one that is tried again and again
        store.insert_requests([unread])


def test_columns_are_made_of_few_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.pipeline.sent.FEW_SPANS", 3)
    for count, whole in ((2, False), (3, True)):
        requests = Received()
        for _ in range(count):
            made = parse_traces(messages.serialized(request()))
            requests.add(made, spans_of(made))
        assert (requests.take([False] * count) is not None) == whole
