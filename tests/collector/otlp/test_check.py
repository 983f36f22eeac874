"""What the check keeps can be decoded, and what it does not keep costs nothing else."""

from __future__ import annotations

import pytest

from collector.otlp import Signal, check, decode_logs, decode_traces
from collector.otlp.wire import nested

IDS = nested(1, b"0123456789abcdef") + nested(2, b"01234567")
SPAN = nested(2, IDS, nested(5, b"a name"))
NO_SPAN = nested(2, nested(1, b"too short"), nested(5, b"a name"))
TIME = b"\x09" + b"\1" * 8
RECORD = nested(2, TIME)
OWNERS = {"resource": 1, "scope": 3}
"""Where each has its attributes."""


def request(owner: str, *parts: bytes, spans: bytes = SPAN + NO_SPAN) -> bytes:
    """Spans of a resource or scope that is given in these parts."""
    given = b"".join(nested(1, part) for part in parts)
    return nested(1, given, nested(2, spans)) if owner == "resource" else nested(1, nested(2, given, spans))


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((b"\x20", b"\x20"), id="a number begins in one and ends in the other"),
        pytest.param((b"\x1a\x04\x0a", b"\x00\x12\x00"), id="an attribute does"),
    ],
)
def test_parts_of_a_resource_or_scope_that_are_whole_only_together_cost_their_spans(
    owner: str, parts: tuple[bytes, ...]
) -> None:
    other = request(owner, nested(OWNERS[owner], nested(1, b"key"), nested(2)))
    checked = check(Signal.TRACES, request(owner, *parts) + other)
    assert (checked.accepted, checked.rejected) == (1, 3)
    assert len(decode_traces(checked.body)) == 1


@pytest.mark.parametrize("owner", OWNERS)
def test_a_resource_or_scope_in_parts_that_are_whole_each_is_all_of_them(owner: str) -> None:
    parts = [nested(OWNERS[owner], nested(1, key), nested(2, nested(1, b"text"))) for key in (b"a", b"b")]
    checked = check(Signal.TRACES, request(owner, *parts))
    [span] = decode_traces(checked.body)
    attributes = span.resource.attributes if owner == "resource" else span.scope.attributes
    assert dict(attributes) == {"a": "text", "b": "text"}


def value(kind: str, levels: int) -> bytes:
    made = nested(1, b"text")
    for _ in range(levels):
        inner = made if kind == "list" else nested(1, b"key") + nested(2, made)
        made = nested(5 if kind == "list" else 6, nested(1, inner))
    return made


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("kind", ["list", "map"])
def test_P9_a_resource_or_scope_is_nested_no_deeper_than_can_be_decoded(owner: str, kind: str) -> None:
    kept = []
    for levels in range(25, 55):
        attribute = nested(OWNERS[owner], nested(1, b"key"), nested(2, value(kind, levels)))
        checked = check(Signal.TRACES, request(owner, attribute) + nested(1, nested(2, SPAN)))
        assert len(decode_traces(checked.body)) == checked.accepted
        kept.append(checked.accepted)
    assert sorted(kept, reverse=True) == kept
    assert {*kept} == {1, 2}


@pytest.mark.parametrize("number", [6, 7, 8, 10, 12, 14, 16])
def test_P10_what_is_no_span_is_found_among_spans(number: int) -> None:
    spans = nested(2, IDS, TIME.replace(b"\x09", b"\x39")) + nested(2, IDS, nested(number, b"text"))
    checked = check(Signal.TRACES, nested(1, nested(2, spans)))
    assert (checked.accepted, dict(checked.rejections)) == (1, {"is no span": 1})


def test_P10_what_is_no_log_record_is_found_among_records() -> None:
    records = RECORD + nested(2, nested(1, b"a name"), TIME)
    checked = check(Signal.LOGS, nested(1, nested(2, records)))
    assert (checked.accepted, dict(checked.rejections)) == (1, {"is no log record": 1})
    assert len(decode_logs(checked.body)) == 1


UNDECLARED = {
    "another field": b"\x28\x01",
    "a key that is a number": b"\x09" + bytes(8),
    "a value that is a number": b"\x10\x01",
    "a group": b"\x2b\x08\x01\x2c",
}


@pytest.mark.parametrize("more", UNDECLARED)
@pytest.mark.parametrize("owner", ["span", "event", "link", "resource", "scope", "map"])
def test_P1_an_attribute_with_more_than_a_key_and_a_value_is_kept(owner: str, more: str) -> None:
    pair = nested(1, b"key") + UNDECLARED[more] + nested(2, nested(1, b"text"))
    parts = {
        "span": nested(9, pair),
        "event": nested(11, nested(3, pair)),
        "link": nested(13, nested(4, pair)),
        "map": nested(9, nested(1, b"map"), nested(2, nested(6, nested(1, pair)))),
    }
    spans = nested(2, IDS, parts.get(owner, b""), nested(5, b"a name"))
    shared = nested(OWNERS.get(owner, 1), pair)
    body = request(owner, shared, spans=spans) if owner in OWNERS else nested(1, nested(2, spans))
    checked = check(Signal.TRACES, body)
    [span] = decode_traces(checked.body)
    found = {
        "span": span.attributes,
        "event": span.events[0].attributes if span.events else {},
        "link": span.links[0].attributes if span.links else {},
        "resource": span.resource.attributes,
        "scope": span.scope.attributes,
        "map": span.attributes.get("map"),
    }[owner]
    assert dict(found) == {"key": "text"}
