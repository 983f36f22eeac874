"""Protobuf's wire format without building messages: what a request holds can be counted, and an item cut to
size, before a parser gives every two bytes of it a hundred bytes of memory.

Walking costs about 0.3 µs a field, so only what is large is walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collector.otlp.limits import MAX_ELEMENTS, Limits, TooManyError
from collector.otlp.signal import Signal

LENGTH_DELIMITED = 2
_GROUP, _END_OF_GROUP = 3, 4
_FIXED_SIZES = {1: 8, 5: 4}
Field = tuple[int, int, int, int, int]
"""(number, wire type, where its tag begins, where its value begins, where it ends)"""


class WireError(ValueError):
    """This is not protobuf."""


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Fields of the message in `data[start:end]`, in order.

    Raises:
        WireError: it is cut off, or no protobuf.
    """
    at = start
    try:
        while at < end:
            tag_at = at
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = _varint(data, tag_at)
            wire_type = tag & 7
            if wire_type == LENGTH_DELIMITED:
                length = data[at]
                at += 1
                if length > 127:
                    length, at = _varint(data, at - 1)
                value_at = at
                at += length
            elif wire_type == 0:
                value_at = at
                _, at = _varint(data, at)
            else:
                value_at = at
                at = (
                    _end_of_group(data, at, tag >> 3) if wire_type == _GROUP else at + _FIXED_SIZES[wire_type]
                )
            if at > end:
                raise WireError("a field is cut off")
            yield tag >> 3, wire_type, tag_at, value_at, at
    except (IndexError, KeyError):
        raise WireError("not protobuf") from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next begins."""
    number = shift = 0
    while shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise WireError("a number is too long")


def _end_of_group(data: bytes, at: int, number: int) -> int:
    """Behind the end of the group that begins before `at`. OTLP has no groups, so nobody looks into them."""
    open_groups = [number]
    while open_groups:
        tag, at = _varint(data, at)
        wire_type = tag & 7
        if wire_type == _GROUP:
            open_groups.append(tag >> 3)
        elif wire_type == _END_OF_GROUP:
            if open_groups.pop() != tag >> 3:
                raise WireError("a group ends that did not begin")
        elif wire_type == LENGTH_DELIMITED:
            length, at = _varint(data, at)
            at += length
        elif wire_type == 0:
            _, at = _varint(data, at)
        else:
            at += _FIXED_SIZES[wire_type]
    return at


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def nested(number: int, *parts: bytes) -> bytes:
    """A message of these parts as a field of another one."""
    inner = b"".join(parts)
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(inner)) + inner


# --------------------------------------------------------------------------- a request


def count_entries(body: bytes, limits: Limits) -> None:
    """Goes down to the items of a request, both signals being nested alike.

    Raises:
        TooManyError: more resources, scopes or items than may be.
        WireError: it is no protobuf.
    """
    resources = scopes = items = 0
    for number, wire_type, _, start, end in fields(body, 0, len(body)):
        if (number, wire_type) != (1, LENGTH_DELIMITED):
            continue
        resources += 1
        if resources > limits.resources:
            raise TooManyError(f"more than {limits.resources} resources in one request")
        for number, wire_type, _, scope_at, scope_end in fields(body, start, end):
            if (number, wire_type) != (2, LENGTH_DELIMITED):
                continue
            scopes += 1
            if scopes > limits.scopes:
                raise TooManyError(f"more than {limits.scopes} scopes in one request")
            for number, *_ in fields(body, scope_at, scope_end):
                items += number == 2
                if items > 2 * limits.items:  # up to twice as many, the surplus is rejected by name
                    raise TooManyError(f"more than {2 * limits.items} items in one request")


_DATA = frozenset({5, 7, 9, 10, 11})
"""Fields of a metric that hold its data points: gauge, sum, histogram, exponential histogram, summary."""


def count_data_points(body: bytes) -> int:
    """Data points of a metrics request; not beyond `MAX_ELEMENTS`, they are only counted.

    Raises:
        WireError: it is no protobuf.
    """
    found = seen = 0
    waiting = [(0, 0, len(body))]
    while waiting:
        level, start, end = waiting.pop()
        for number, wire_type, _, value_at, field_end in fields(body, start, end):
            seen += 1
            if seen > MAX_ELEMENTS:
                return found
            if wire_type != LENGTH_DELIMITED:
                continue
            if level == 4:
                found += number == 1
            elif number in (_DATA if level == 3 else (1,) if level == 0 else (2,)):
                waiting.append((level + 1, value_at, field_end))
    return found


# --------------------------------------------------------------------------- an item


@dataclass(frozen=True, slots=True)
class _Shape:
    """Field numbers of an item: what is counted, with its limit's name and the number of its dropped count."""

    counted: dict[int, tuple[str, int]]


_SHAPES = {
    Signal.TRACES: _Shape({9: ("attributes", 10), 11: ("events", 12), 13: ("links", 14)}),
    Signal.LOGS: _Shape({6: ("attributes", 7)}),
}
_EVENT = _Shape({3: ("attributes", 4)})
_LINK = _Shape({4: ("attributes", 5)})
_NESTED = {(Signal.TRACES, 11): _EVENT, (Signal.TRACES, 13): _LINK}


def within_counts(signal: Signal, item: bytes, limits: Limits) -> bytes:
    """The item with no more attributes, events and links than may be, the first ones; what is dropped is added
    to its counts.

    Raises:
        WireError: it is no protobuf.
    """
    return _cut(item, 0, len(item), _SHAPES[signal], limits, signal)


def _cut(
    data: bytes, start: int, end: int, shape: _Shape, limits: Limits, signal: Signal | None = None
) -> bytes:
    seen = dict.fromkeys(shape.counted, 0)
    dropped = {count_number: 0 for _, count_number in shape.counted.values()}
    already = dict(dropped)
    kept: list[bytes] = []
    for number, wire_type, tag_at, value_at, field_end in fields(data, start, end):
        if number in already and wire_type == 0:
            already[number] = _varint(data, value_at)[0]
            continue
        if number in seen and wire_type == LENGTH_DELIMITED:
            name, count_number = shape.counted[number]
            seen[number] += 1
            if seen[number] > getattr(limits, name):
                dropped[count_number] += 1
                continue
            nested = _NESTED.get((signal, number)) if signal else None
            if nested is not None and field_end - value_at > limits.attributes * 2:
                inner = _cut(data, value_at, field_end, nested, limits)
                kept += (data[tag_at : tag_at + 1], varint(len(inner)), inner)
                continue
        kept.append(data[tag_at:field_end])
    for number, more in dropped.items():
        if total := min(already[number] + more, 2**32 - 1):
            kept += (varint(number << 3), varint(total))
    return b"".join(kept)


_SUBMESSAGES: dict[str, dict[int, str]] = {
    "span": {9: "pair", 11: "event", 13: "link"},
    "log": {5: "value", 6: "pair"},
    "resource": {1: "pair"},
    "scope": {3: "pair"},
    "event": {3: "pair"},
    "link": {4: "pair"},
    "pair": {2: "value"},
    "value": {5: "list", 6: "map"},
    "list": {1: "value"},
    "map": {1: "pair"},
}


_INDEXES = {"pair": 3, "value": 8}
"""Fields that name a key or a text by an index into the dictionary of profiles, which no other signal has."""


def has_indexes(name: str, data: bytes) -> bool:
    """Whether attributes or values in a `span`, `log`, `resource` or `scope` are named by an index.

    Raises:
        WireError: it is no protobuf.
    """
    waiting = [(name, 0, len(data))]
    while waiting:
        name, start, end = waiting.pop()
        index, submessages = _INDEXES.get(name), _SUBMESSAGES[name]
        for number, wire_type, _, value_at, field_end in fields(data, start, end):
            if wire_type == 0 and number == index:
                return True
            if wire_type == LENGTH_DELIMITED and (inner := submessages.get(number)):
                waiting.append((inner, value_at, field_end))
    return False


def known_pairs(name: str, data: bytes) -> bytes:
    """A `span`, `log`, `resource` or `scope` that could be parsed, its keys with nothing but their values.

    Raises:
        WireError: it is no protobuf.
    """
    submessages = _SUBMESSAGES[name]
    kept: list[bytes] = []
    for number, wire_type, tag_at, value_at, field_end in fields(data, 0, len(data)):
        if name == "pair" and (number not in (1, 2) or wire_type != LENGTH_DELIMITED):
            continue
        inner = submessages.get(number) if wire_type == LENGTH_DELIMITED else None
        if inner is None:
            kept.append(data[tag_at:field_end])
        else:
            kept.append(nested(number, known_pairs(inner, data[value_at:field_end])))
    return b"".join(kept)


class Elements:
    """Counts the messages within the large parts of one request."""

    def __init__(self) -> None:
        self._left = MAX_ELEMENTS

    def count(self, name: str, data: bytes) -> None:
        """Adds what is in a `span`, `log`, `resource` or `scope`.

        Raises:
            TooManyError: the request has more than `MAX_ELEMENTS`.
            WireError: it is no protobuf.
        """
        open_messages = [(fields(data, 0, len(data)), _SUBMESSAGES[name])]
        while open_messages:
            inside, submessages = open_messages[-1]
            for number, wire_type, _, value_at, field_end in inside:
                if wire_type == LENGTH_DELIMITED and (inner := submessages.get(number)):
                    self._left -= 1
                    if self._left < 0:
                        raise TooManyError(
                            f"more than {MAX_ELEMENTS} values in the large items of one request"
                        )
                    if field_end > value_at:
                        open_messages.append((fields(data, value_at, field_end), _SUBMESSAGES[inner]))
                        break
            else:
                open_messages.pop()
