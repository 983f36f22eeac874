"""Requests that are found well as a whole hold nothing that would not be taken item by item."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.otlp import Signal, check, decode_traces
from collector.otlp.limits import Limits
from collector.otlp.together import WHOLE_BYTES, count_if_well
from collector.otlp.wire import nested

LIMITS = Limits(
    items=60,
    resources=3,
    scopes=5,
    item_bytes=5000,
    attributes=6,
    events=3,
    links=2,
    key_bytes=128,
    value_bytes=4000,
)
TRACE, SPAN = nested(1, b"0123456789abcdef"), nested(2, b"01234567")


def pair(key: bytes, value: bytes = b"text") -> bytes:
    return nested(1, key) + nested(2, nested(1, value))


PARTS = {
    "attribute": nested(9, pair(b"key")),
    "another": nested(9, pair(b"another", b"x" * 300)),
    "event": nested(11, nested(2, b"event"), nested(3, pair(b"key"))),
    "link": nested(13, TRACE, SPAN),
    "name": nested(5, b"a name"),
    "long key": nested(9, pair(b"k" * 129)),
    "event with a long key": nested(11, nested(3, pair(b"k" * 129))),
    "many attributes": b"".join(nested(9, pair(b"key %d" % number)) for number in range(7)),
    "events": nested(11, b"") * 4,
    "links": nested(13, b"") * 3,
    "no text": nested(5, b"\xff"),
    "no text in a value": nested(9, pair(b"key", b"\xff")),
    "large": nested(9, pair(b"key", b"x" * 4001)),
    "deep": nested(9, nested(1, b"key") + b"".join([nested(2, nested(5))] * 2)),
    "trace id": TRACE,
    "span id": SPAN,
    "no trace": nested(1, bytes(16)),
    "short id": nested(2, b"0123"),
    "cut off": nested(5, b"a name")[:-2],
    "group": b"\xa3\x06",
    "end of a group": b"\xa4\x06",
    "field 0": b"\0\0",
}
GOOD = ("attribute", "another", "event", "link", "name")
STARTS = [TRACE + SPAN] * 40 + [TRACE, SPAN, SPAN + TRACE, b"", nested(1, bytes(16)) + SPAN]
OTHERS = [b""] * 20 + [nested(1, nested(1, pair(b"k")))] * 20 + [nested(1, b"\xff"), nested(3, b"url"), b"\0"]


def made(chance: random.Random) -> bytes:
    """A request, of which a part may be wrong."""

    def span() -> bytes:
        parts = [PARTS[chance.choice(GOOD)] for _ in range(chance.randrange(5))]
        if chance.random() < 0.03:
            parts.insert(chance.randint(0, len(parts)), PARTS[chance.choice([*PARTS])])
        return nested(2, chance.choice(STARTS) if chance.random() < 0.2 else TRACE + SPAN, *parts)

    def scope() -> bytes:
        return nested(2, chance.choice(OTHERS), *(span() for _ in range(chance.randrange(25))))

    resources = [
        nested(1, chance.choice(OTHERS), *(scope() for _ in range(chance.randrange(3))))
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 4)))
    ]
    return b"".join(resources)


def is_well(body: bytes) -> int | None:
    """The same, by looking at each span of the parsed request."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return None
    scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
    spans = [span for scope in scopes for span in scope.spans]
    if len(request.resource_spans) > 3 or len(scopes) > 5 or len(spans) > LIMITS.items:
        return None
    for span in spans:
        owners = [span, *span.events, *span.links]
        keys = [{pair.key for pair in owner.attributes} for owner in owners]
        if (
            len(span.trace_id) != 16
            or not any(span.trace_id)
            or len(span.span_id) != 8
            or not any(span.span_id)
            or any(len(found) > LIMITS.attributes for found in keys)
            or any(len(key) > LIMITS.key_bytes for found in keys for key in found)
            or len(span.events) > LIMITS.events
            or len(span.links) > LIMITS.links
            or any(len(pair.value.string_value) > LIMITS.value_bytes for pair in span.attributes)
            or span.ByteSize() > LIMITS.item_bytes
        ):
            return None
    return len(spans)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_well_as_a_whole_is_well_span_by_span(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        agrees(made(chance))


def agrees(body: bytes) -> None:
    count = count_if_well(Signal.TRACES, body, LIMITS)
    if count is not None:
        assert is_well(body) == count
        assert len(decode_traces(body)) == count
    elif is_well(body) is not None:  # looked through item by item, which finds it well too
        checked = check(Signal.TRACES, body, LIMITS)
        assert (checked.accepted, checked.rejected) == (is_well(body), 0)


def spans(count: int, change: Callable[[int], bytes] = lambda place: b"") -> bytes:
    chance = random.Random(count)
    return nested(
        1,
        nested(1, nested(1, pair(b"service.name"))),
        nested(
            2,
            *(
                nested(
                    2,
                    TRACE,
                    SPAN,
                    nested(9, pair(b"key", chance.randbytes(1000).hex().encode())),
                    change(place),
                )
                for place in range(count)
            ),
        ),
    )


SIZES = pytest.mark.parametrize("count", [3, 700], ids=["small", "large"])


@SIZES
def test_what_serializers_write_is_found_well(count: int) -> None:
    body = spans(count)
    assert (len(body) > WHOLE_BYTES) == (count > 3)
    assert count_if_well(Signal.TRACES, body, Limits()) == count
    assert count_if_well(Signal.TRACES, body, Limits(items=count - 1)) is None


@SIZES
@pytest.mark.parametrize(
    ("wrong", "accepted"),
    [
        ("no text", 0),
        ("no trace", 0),
        ("short id", 0),
        ("cut off", 0),
        ("span id", 1),
        ("long key", 1),
        ("deep", 1),
    ],
)
def test_one_span_that_is_not_well_is_found(count: int, wrong: str, accepted: int) -> None:
    body = spans(count, lambda place: PARTS[wrong] if place == count - 2 else b"")
    found = check(Signal.TRACES, body, Limits(key_bytes=128))
    assert (found.accepted, found.rejected) == (count - 1 + accepted, 1 - accepted)
    assert len(decode_traces(found.body)) == found.accepted


@SIZES
def test_a_span_without_an_id_is_found_although_another_has_two(count: int) -> None:
    def change(place: int) -> bytes:
        return SPAN if place == 1 else b""

    lacking = TRACE + nested(4, b"01234567")  # a parent where its own id should be
    body = spans(count, change).replace(TRACE + SPAN, lacking, 1)
    found = check(Signal.TRACES, body)
    assert (found.accepted, found.rejected) == (count - 1, 1)


@SIZES
@pytest.mark.parametrize("broken", ["resource", "scope"])
def test_a_resource_or_scope_that_is_given_twice_is_looked_at_twice(count: int, broken: str) -> None:
    bad = nested(1, nested(1, pair(b"\xff")))
    items = [nested(2, TRACE, SPAN, nested(9, pair(b"key", b"x" * 2000))) for _ in range(count)]
    shared = nested(1, nested(1, pair(b"key")))
    body = nested(
        1,
        bad + shared if broken == "resource" else shared,
        nested(
            2,
            nested(1, nested(1, b"\xff")) + nested(1, nested(1, b"scope")) if broken == "scope" else b"",
            *items,
        ),
    )
    found = check(Signal.TRACES, body)
    assert (found.accepted, found.rejected) == (0, count)
    assert decode_traces(found.body) == []


def test_a_long_key_of_an_event_is_cut() -> None:
    found = check(
        Signal.TRACES, spans(1, lambda place: PARTS["event with a long key"]), Limits(key_bytes=128)
    )
    [span] = decode_traces(found.body)
    assert [*span.events[0].attributes] == ["k" * 128 + "… [cut: 129 bytes]"]
    assert found.warnings


@pytest.mark.parametrize("large", [100_000, 200_000])
@pytest.mark.parametrize("place", [0, 350, 699])
def test_a_large_span_among_others_has_a_piece_of_its_own(place: int, large: int) -> None:
    more = nested(9, pair(b"a large one", b"x" * large))
    body = spans(700, lambda at: more if at == place else b"")
    assert count_if_well(Signal.TRACES, body, Limits()) == 700


def test_what_looks_like_the_beginning_of_a_span_costs_time_alone() -> None:
    lookalike = nested(2, TRACE + SPAN)
    text = nested(9, pair(b"a text", (lookalike + b" " * 200) * 700))
    body = spans(700, lambda at: text if at == 100 else b"")
    checked = check(Signal.TRACES, body)
    assert (checked.accepted, checked.rejected) == (700, 0)
    assert len(decode_traces(checked.body)) == 700


def test_parts_of_a_scope_in_several_pieces_are_as_large_as_all_of_them() -> None:
    part = nested(1, nested(3, pair(b"key", b"x" * 100_000)))
    items = [nested(2, TRACE, SPAN, nested(5, b"x" * 100)) + part for _ in range(12)]
    body = nested(1, nested(2, *items))
    assert count_if_well(Signal.TRACES, body, Limits()) is None
    assert check(Signal.TRACES, body).accepted == 12
