"""Whether a request can be stored as it is, found out by parsing all its items as if they were one.

Protobuf merges what comes again in a field that is declared once. With every level of a request declared so, its items
make one item: it has the attributes of all, each key once, and their events and links. It parses if all of them do, and
none has more parts or longer keys than it has. So a limit that it keeps is kept by each, and of a span Python looks at
nothing but where it begins: a third less than parsing the request and asking each span.

What does not pass is not wrong yet: `check` goes through it item by item.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from collector.otlp import messages
from collector.otlp.limits import Limits, TooManyError
from collector.otlp.longkeys import any_longer
from collector.otlp.signal import Signal
from collector.otlp.wire import Layout, WireError, lay_out, nested

NO_TRACE = bytes(16)
NO_SPAN = bytes(8)
WHOLE_BYTES = 256 << 10
"""Requests up to here are parsed at once, larger ones so much at a time: at worst that takes 23 MB for a moment."""


def count_if_well(signal: Signal, body: bytes, limits: Limits) -> int | None:
    """How many items a request has if all of it can be stored as it is; None if not, or if that can not be told so."""
    form = _FORMS[signal]
    try:
        layout = lay_out(body, limits, WHOLE_BYTES, ids_first=form.ids_first)
    except (WireError, TooManyError):
        return None
    if layout.longest > min(limits.value_bytes, limits.item_bytes):
        return None
    for part, items in _parts(body, layout):
        if len(part) > WHOLE_BYTES + 64:  # an item that is larger by itself
            return None
        try:
            request = form.request.FromString(part)
        except DecodeError:
            return None
        if not form.is_well(request, items, limits):
            return None
    return layout.items


def _parts(body: bytes, layout: Layout) -> Iterator[tuple[bytes, int]]:
    """The request cut into requests that may be parsed, with how many items each has."""
    if len(body) <= WHOLE_BYTES:
        yield body, layout.items
        return
    yield layout.rest, 0
    for start, end, items in layout.runs:
        yield nested(1, nested(2, body[start:end])), items


def _spans_are_well(request: Any, spans: int, limits: Limits) -> bool:
    of_resource = request.resource_spans
    one = of_resource.scope_spans.spans
    if spans and not (one.start_time_unix_nano or one.end_time_unix_nano or one.name or one.attributes):
        return False  # metrics may look like spans, but for these
    trace_ids, span_ids = one.trace_id, one.span_id
    # Each span begins with both, of the right length: if there are no more of them than spans, each has one of each.
    if len(trace_ids) != spans or len(span_ids) != spans:
        return False
    if NO_TRACE in trace_ids or NO_SPAN in span_ids or _over(one, limits):
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
    ids_first: bool
    """Whether each item must have ids, which are looked for where they are written."""
    is_well: Callable[[Any, int, Limits], bool]


_FORMS = {
    Signal.TRACES: _Form(messages.OneTracesRequest, True, _spans_are_well),
    Signal.LOGS: _Form(messages.OneLogsRequest, False, _records_are_well),
}
