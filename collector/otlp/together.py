"""Whether a request can be stored as it is, found out by parsing all its items as if they were one.

Protobuf merges what comes again in a field that is declared once. With every level of a request declared so, its items
make one item: it has the attributes of all, each key once, and their events and links. It parses if all of them do, and
none has more parts or longer keys than it has. So a limit that it keeps is kept by each, and of a span Python looks at
nothing but where it begins: a third less than parsing the request and asking each span.

What does not pass is not wrong yet: `check` goes through it item by item.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from collector.otlp import messages
from collector.otlp.limits import Limits, TooManyError
from collector.otlp.longkeys import any_longer
from collector.otlp.signal import Signal
from collector.otlp.wire import LENGTH_DELIMITED, WireError, fields, nested, varint

NO_TRACE = bytes(16)
NO_SPAN = bytes(8)
WHOLE_BYTES = 256 << 10
"""Requests up to here are parsed at once, larger ones so much at a time: at worst that takes 23 MB for a moment."""


def count_if_well(signal: Signal, body: bytes, limits: Limits, piece_bytes: int = WHOLE_BYTES) -> int | None:
    """How many items a request has if all of it can be stored as it is; None if not, or if that can not be told so.

    Args:
        piece_bytes: so much is parsed at a time.
    """
    form = _FORMS[signal]
    count = shared = 0
    try:
        for piece in [body] if len(body) <= piece_bytes else _pieces(body, form.begins, limits, piece_bytes):
            if len(piece) > piece_bytes + 64:  # an item that is larger by itself
                return None
            skeleton = messages.RequestSkeleton.FromString(piece)
            if not _fits(form, skeleton, len(piece), limits):
                return None
            scopes = [scope for resource in skeleton.resources for scope in resource.scopes]
            items = sum(len(scope.items) for scope in scopes)
            if not form.is_well(form.request.FromString(piece), items, limits):
                return None
            count += items
            if len(body) > piece_bytes:  # a scope may be given in parts, in several pieces
                shared += sum(len(part) for scope in scopes for part in scope.scope)
    except (DecodeError, WireError, TooManyError):
        return None
    return count if count <= limits.items and shared <= min(limits.value_bytes, limits.item_bytes) else None


def _pieces(body: bytes, begins: re.Pattern[bytes], limits: Limits, piece_bytes: int) -> Iterator[bytes]:
    """The request cut into requests that may be parsed: what its scopes hold in pieces of some items each, then all the
    rest. Where an item begins is guessed. A piece that parses ends where one of its fields does, and the next begins
    there, so that all pieces are right if all parse."""
    resources = scopes = 0
    rest: list[bytes] = []
    view = memoryview(body)
    for number, wire_type, tag_at, start, end in fields(body, 0, len(body)):
        if (number, wire_type) != (1, LENGTH_DELIMITED):
            rest.append(body[tag_at:end])
            continue
        resources += 1
        if resources > limits.resources:
            raise TooManyError("more resources than may be")
        of_resource: list[bytes] = []
        for number, wire_type, tag_at, at, field_end in fields(body, start, end):
            if (number, wire_type) != (2, LENGTH_DELIMITED):
                of_resource.append(body[tag_at:field_end])
                continue
            scopes += 1
            if scopes > limits.scopes:
                raise TooManyError("more scopes than may be")
            while at < field_end:
                piece_end = _end(body, at, field_end, begins, piece_bytes)
                inner = b"\x12" + varint(piece_end - at)
                size = varint(len(inner) + piece_end - at)
                yield b"".join((b"\x0a", size, inner, view[at:piece_end]))  # copied once
                at = piece_end
        rest.append(nested(1, *of_resource))
    yield b"".join(rest)


def _end(body: bytes, at: int, end: int, begins: re.Pattern[bytes], piece_bytes: int) -> int:
    """Where a piece ends that begins here: before an item, some way behind the middle of what a piece may be."""
    if end - at <= piece_bytes:
        return end
    middle = at + piece_bytes // 2
    found = begins.search(body, middle, end)
    behind = found.start() if found else end
    if behind - at > piece_bytes:  # a large item lies there, which needs a piece of its own
        for found in begins.finditer(body, at + 1, middle):
            behind = found.start()
    return behind


def _fits(form: _Form, skeleton: Any, size: int, limits: Limits) -> bool:
    """Whether there are no more and no larger resources, scopes and items than may be, and whether each item
    has the ids that it must have."""
    resources = skeleton.resources
    if len(resources) > limits.resources:
        return False
    longest = min(limits.value_bytes, limits.item_bytes)
    scopes = 0
    for resource in resources:
        scopes += len(resource.scopes)
        if size > longest and sum(map(len, resource.resource)) > longest:
            return False
        for scope in resource.scopes:
            items = scope.items
            if size > longest and max(sum(map(len, scope.scope)), max(map(len, items), default=0)) > longest:
                return False
            if form.with_ids and not _begin_with_ids(items):
                return False
    return scopes <= limits.scopes


_HEAD_BYTES = 28
"""A trace id and a span id with tag and length."""
_head = itemgetter(slice(_HEAD_BYTES))


def _begin_with_ids(items: Sequence[bytes]) -> bool:
    """Whether each item begins with a trace id and a span id, as what goes by the numbers of fields writes it. An id of
    zeros is none; what only seems to be one, from the end of an id on, is found to be well item by item."""
    heads = b"".join(map(_head, items))
    count = len(items)
    return (
        len(heads) == count * _HEAD_BYTES
        and heads[::_HEAD_BYTES] == b"\x0a" * count
        and heads[1::_HEAD_BYTES] == b"\x10" * count
        and heads[18::_HEAD_BYTES] == b"\x12" * count
        and heads[19::_HEAD_BYTES] == b"\x08" * count
        and b"\x0a\x10" + NO_TRACE not in heads
        and b"\x12\x08" + NO_SPAN not in heads
    )


def _spans_are_well(request: Any, spans: int, limits: Limits) -> bool:
    of_resource = request.resource_spans
    one = of_resource.scope_spans.spans
    if spans and not (one.start_time_unix_nano or one.end_time_unix_nano or one.name or one.attributes):
        return False  # metrics may look like spans, but for these
    # Each span begins with both, of the right length: if there are no more of them than spans, each has one of each.
    if len(one.trace_id) != spans or len(one.span_id) != spans or _over(one, limits):
        return False
    if has_odd(one, _ODD_IN_SPANS) or _have_odd_pairs(of_resource.resource, of_resource.scope_spans.scope):
        return False
    if not {*map(len, one.parent_span_id)} <= {0, 8}:
        return False
    events, links = one.events, one.links
    if events and (len(events) > limits.events or any(_is_odd(event, 3, limits) for event in events)):
        return False
    return not links or (len(links) <= limits.links and not any(_is_odd(link, 4, limits) for link in links))


def _records_are_well(request: Any, records: int, limits: Limits) -> bool:
    of_resource = request.resource_logs
    one = of_resource.scope_logs.log_records
    if records and not (one.time_unix_nano or one.observed_time_unix_nano):
        return False  # metrics and some spans look like log records, but for the times
    if has_odd(one, _ODD_IN_RECORDS) or _have_odd_pairs(of_resource.resource, of_resource.scope_logs.scope):
        return False
    # A record need not belong to a span, and ids of zeros say that it does not.
    if not {*map(len, one.trace_id)} <= {0, 16} or not {*map(len, one.span_id)} <= {0, 8}:
        return False
    return not _over(one, limits)


TEXTS_FOR_NUMBERS = frozenset({6, 7, 8, 10, 12, 14, 16})
"""Fields of a span that hold numbers: its kind, times, counts and flags. What has texts there may be no span."""
_ODD_IN_SPANS = TEXTS_FOR_NUMBERS | {9}
_ODD_IN_RECORDS = frozenset({1, 6})
"""Where fields of a form of their own make an item odd: attributes, and what tells it from items of other signals."""


def has_odd(owner: Any, numbers: Collection[int]) -> bool:
    """Whether one of these fields is there in a form that is not declared: with another wire type, or as attributes
    with more than a key and a value, such as the index that a key has in profiles. Protobuf leaves all these out."""
    unknown = UnknownFieldSet(owner)
    return len(unknown) > 0 and any(unknown[place].field_number in numbers for place in range(len(unknown)))


def has_odd_pairs(owner: Any, number: int) -> bool:
    """Whether of the attributes, which are the field `number`, some are in a form that is not declared."""
    return has_odd(owner, (number,))


def _have_odd_pairs(resource: Any, scope: Any) -> bool:
    return has_odd_pairs(resource, 1) or has_odd_pairs(scope, 3)


def _is_odd(part: Any, number: int, limits: Limits) -> bool:
    return _over(part, limits) or has_odd_pairs(part, number)


def _over(owner: Any, limits: Limits) -> bool:
    attributes = owner.attributes
    return len(attributes) > limits.attributes or any_longer(attributes, limits.key_bytes)


@dataclass(frozen=True, slots=True)
class _Form:
    request: Any
    with_ids: bool
    """Whether each item must have ids, which are looked for where they are written."""
    begins: re.Pattern[bytes]
    """How an item begins that serializers write, and seldom anything else."""
    is_well: Callable[[Any, int, Limits], bool]


def _item(beginning: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\x12[\x80-\xff]{0,3}[\x00-\x7f]" + beginning, re.DOTALL)


_FORMS = {
    Signal.TRACES: _Form(messages.OneTracesRequest, True, _item(rb"\x0a\x10.{16}\x12\x08"), _spans_are_well),
    Signal.LOGS: _Form(messages.OneLogsRequest, False, _item(rb"[\x09\x59]"), _records_are_well),
}
