"""The structure check on the way in: what can not be stored is refused item by item, never the whole request.

Most requests are as they may be stored, which `together` finds out. Others are gone through item by item, and never
more is parsed at once than memory is meant for: two bytes may become two hundred, and so 64 MiB thirteen GiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from collector.otlp import messages
from collector.otlp.limits import DEFAULT, Limits, TooManyError
from collector.otlp.longkeys import cut_keys
from collector.otlp.mistaken import are_no_metrics, mistaken
from collector.otlp.signal import Signal
from collector.otlp.together import (
    NO_SPAN,
    NO_TRACE,
    TEXTS_FOR_NUMBERS,
    WHOLE_BYTES,
    count_if_well,
    has_odd_pairs,
)
from collector.otlp.values import cut_values
from collector.otlp.wire import (
    LENGTH_DELIMITED,
    Elements,
    WireError,
    count_data_points,
    count_entries,
    fields,
    has_indexes,
    known_pairs,
    nested,
    within_counts,
)

HANDFUL = 64
"""Items that are looked at together when some of a request are not well."""
COUNT_BYTES = 2 << 20
"""Requests from here on are walked down to their items first; below, the skeleton takes 80 MB at worst."""
WALK_BYTES = 64 << 10
"""Items from here on are walked before they are parsed."""

CUT_VALUES = "an item has values that are too long; they are cut"
CUT_KEYS = "an item has keys that are too long; they are cut"
TOO_MANY_PARTS = "an item has more attributes, events or links than are kept; the first ones are"
ODD_PARENT = "the id of a parent is not 8 bytes; its span is taken for a root"
ENUM_NAMES = "an enum is written as a name; OTLP/JSON has numbers"
TWICE = "an object in JSON has a key more than once; the last one holds"
INDEXES = "keys or values are named by an index, which only profiles may do; they are taken for empty"
"""Warnings."""


class NotOtlpError(ValueError):
    """The body is not a request of its signal; the message says what is wrong, without quoting the body."""


class _RejectedError(ValueError):
    """One item can not be stored; the message is its reason."""

    def __init__(self, reason: str, trace_id: bytes = b"") -> None:
        super().__init__(reason)
        self.trace_id = trace_id


@dataclass(slots=True)
class Checked:
    """What of a request can be stored."""

    body: bytes
    """The request as protobuf, without what was rejected."""
    accepted: int
    rejections: Mapping[str, int] = field(default_factory=dict)
    """Items that can not be stored, by the reason."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """What was done to items that are kept, how often."""
    rejected_trace_id: str = ""
    """Trace of the first item that was rejected, 32 hex digits, if that is known."""

    @property
    def rejected(self) -> int:
        return sum(self.rejections.values())

    @property
    def reasons(self) -> str:
        """Why items were rejected, each reason with its count."""
        return listed(self.rejections)

    @property
    def warnings(self) -> str:
        """What was done to items that are kept, each with its count."""
        return listed(self.changes)


def check(signal: Signal, body: bytes, limits: Limits = DEFAULT) -> Checked:
    """Judges a protobuf request.

    Raises:
        NotOtlpError: nothing in it makes sense.
        TooManyError: it has more parts than can be looked through.
    """
    if signal is Signal.METRICS:
        return Checked(b"", _data_points(body, limits))
    count = count_if_well(signal, body, limits)
    return _item_by_item(signal, body, limits) if count is None else Checked(body, count)


def sent_as(signal: Signal, other: Signal) -> NotOtlpError:
    """What a request is refused with that belongs to another signal."""
    return NotOtlpError(
        f"the body holds {other}: is this another signal than {signal}? "
        f"Send it to /v1/{other}, or by gRPC to the {_SERVICES[other]}"
    )


_SERVICES = {Signal.TRACES: "TraceService", Signal.LOGS: "LogsService", Signal.METRICS: "MetricsService"}


def wrong_span(span: Any) -> str:
    """Why a span can not be stored; "" if it can."""
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != 16 or trace_id == NO_TRACE:
        return "trace id is not 16 bytes" if len(trace_id) != 16 else "trace id is zero"
    if len(span_id) != 8 or span_id == NO_SPAN:
        return "span id is not 8 bytes" if len(span_id) != 8 else "span id is zero"
    return ""


def has_odd_parent(item: Any) -> bool:
    """Whether a span, as it was sent, names something as its parent that can be none."""
    return len(getattr(item, "parent_span_id", b"")) not in (0, 8)


def wrong_log_record(record: Any) -> str:
    """Why a log record can not be stored; "" if it can. It need not belong to a span."""
    if len(record.trace_id) not in (0, 16):
        return "trace id is not 16 bytes"
    if len(record.span_id) not in (0, 8):
        return "span id is not 8 bytes"
    return ""


def _is_no_span(span: Any, raw: bytes) -> bool:
    """Whether what was read as a span without times is something else, which has texts where its numbers are. A sum
    can be read so: its name and description, if they are 16 and 8 bytes long, as ids."""
    if span.start_time_unix_nano or span.end_time_unix_nano:
        return False
    return any(
        wire_type == LENGTH_DELIMITED and number in TEXTS_FOR_NUMBERS
        for number, wire_type, *_ in fields(raw, 0, len(raw))
    )


def _is_no_log_record(record: Any, raw: bytes) -> bool:
    """Whether what was read as a log record is something else: metrics and spans begin with a text, where log records
    have their time."""
    return raw[:1] == b"\n"


def shown_trace_id(trace_id: bytes) -> str:
    """A trace id as hex digits; "" if it is none."""
    return trace_id.hex() if len(trace_id) == 16 and trace_id != NO_TRACE else ""


def _has_odd_pairs(span: Any) -> bool:
    return (
        has_odd_pairs(span, 9)
        or any(has_odd_pairs(event, 3) for event in span.events)
        or any(has_odd_pairs(link, 4) for link in span.links)
    )


def _over_span(span: Any, limits: Limits) -> bool:
    """Whether it has more parts than are kept."""
    if len(span.attributes) > limits.attributes:
        return True
    events, links = span.events, span.links
    if events and (len(events) > limits.events or _any_over(events, limits)):
        return True
    return bool(links) and (len(links) > limits.links or _any_over(links, limits))


def _any_over(parts: Any, limits: Limits) -> bool:
    return any(len(part.attributes) > limits.attributes for part in parts)


def _over_log_record(record: Any, limits: Limits) -> bool:
    return len(record.attributes) > limits.attributes


@dataclass(frozen=True, slots=True)
class _Form:
    """How a signal's items lie in its requests, and what they must be."""

    parse: Callable[[bytes], Any]
    """An item, as deep as it lies in a request: that is how it is parsed later."""
    on_the_wire: str
    """What `wire` calls an item."""
    name: str
    """What people call it."""
    wrong: Callable[[Any], str]
    is_foreign: Callable[[Any, bytes], bool]
    """Whether it was written as something else."""
    has_odd_pairs: Callable[[Any], bool]
    """Whether attributes would be passed over for what stands beside their values."""
    over: Callable[[Any, Limits], bool]


def _as_request(*items: bytes) -> bytes:
    return nested(1, nested(2, *(nested(2, item) for item in items)))


def _span(raw: bytes) -> Any:
    return messages.TracesRequest.FromString(_as_request(raw)).resource_spans[0].scope_spans[0].spans[0]


def _log_record(raw: bytes) -> Any:
    return messages.LogsRequest.FromString(_as_request(raw)).resource_logs[0].scope_logs[0].log_records[0]


_FORMS = {
    Signal.TRACES: _Form(_span, "span", "span", wrong_span, _is_no_span, _has_odd_pairs, _over_span),
    Signal.LOGS: _Form(
        _log_record,
        "log",
        "log record",
        wrong_log_record,
        _is_no_log_record,
        partial(has_odd_pairs, number=6),
        _over_log_record,
    ),
}


def _item_by_item(signal: Signal, body: bytes, limits: Limits) -> Checked:
    """Looks at items by the handful, and at each alone of a handful that is not all well; keeps the good ones, byte for
    byte unless they are cut."""
    try:
        if len(body) > COUNT_BYTES:
            count_entries(body, limits)
        skeleton = messages.RequestSkeleton.FromString(body)
    except (DecodeError, WireError):
        raise _not_protobuf(signal, body) from None
    reasons: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    elements = Elements()
    accepted = 0
    rejected_trace_id = ""
    changed = is_broken = False
    judge = _judge_of(signal, limits, elements, warnings)
    _refuse_too_many("resources", len(skeleton.resources), limits.resources)
    scopes = 0
    for resource in skeleton.resources:
        changed |= _mend_url(resource)
        scopes += len(resource.scopes)
        _refuse_too_many("scopes", scopes, limits.scopes)
        resource_reason, shared = _envelope("resource", resource.resource, limits, elements, warnings)
        if shared is not None:
            resource.resource[:], changed = [shared], True
        for scope in resource.scopes:
            changed |= _mend_url(scope)
            scope_reason, shared = _envelope("scope", scope.scope, limits, elements, warnings)
            if shared is not None:
                scope.scope[:], changed = [shared], True
            items = list(scope.items)
            kept = []
            if reason := resource_reason or scope_reason:
                is_broken = True
                reasons[reason] += len(items)
                scope.ClearField("scope")
            else:
                for start in range(0, len(items), HANDFUL):
                    handful = items[start : start + HANDFUL]
                    if count_if_well(signal, _as_request(*handful), limits) is not None:
                        kept += handful
                        continue
                    for item in handful:
                        try:
                            kept.append(judge(item))
                        except _RejectedError as error:
                            reasons[str(error)] += 1
                            rejected_trace_id = rejected_trace_id or shown_trace_id(error.trace_id)
                if (surplus := accepted + len(kept) - limits.items) > 0:
                    reasons[f"more than {limits.items} items in one request"] += surplus
                    del kept[-surplus:]
            accepted += len(kept)
            if kept != items:
                changed = True
                del scope.items[:]
                scope.items.extend(kept)
        if resource_reason:
            is_broken = True
            resource.ClearField("resource")
    rejected = reasons.total()
    if is_broken and not accepted and not rejected:
        raise _not_protobuf(signal, body)
    changed |= is_broken
    if rejected and not accepted:
        if (other := mistaken(signal, body, limits)) is not None:
            raise sent_as(signal, other)
        if set(reasons) <= {"trace id is not 16 bytes", "is no span", "is no log record"}:
            raise NotOtlpError(f"no item is a {_FORMS[signal].name}: is this another signal than {signal}?")
    kept_body = skeleton.SerializeToString() if changed else body
    return Checked(kept_body, accepted, reasons, +warnings, rejected_trace_id)


def listed(counted: Mapping[str, int]) -> str:
    if not counted:  # as nearly always
        return ""
    return ", ".join(f"{count} × {what}" for what, count in Counter(counted).most_common())


def _refuse_too_many(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise TooManyError(f"more than {limit} {what} in one request")


def _judge_of(
    signal: Signal, limits: Limits, elements: Elements, warnings: Counter[str]
) -> Callable[[bytes], bytes]:
    """A function that returns an item as it can be stored, and raises _RejectedError if it can not be."""
    form = _FORMS[signal]
    wrong, is_foreign, over, parse = form.wrong, form.is_foreign, form.over, form.parse
    value_bytes, item_bytes = limits.value_bytes, limits.item_bytes
    long_bytes = min(value_bytes, item_bytes)

    def judge(raw: bytes) -> bytes:
        try:
            if len(raw) > WALK_BYTES:
                elements.count(form.on_the_wire, raw)
            item = parse(raw)
            if reason := wrong(item):
                raise _RejectedError(reason, item.trace_id)
            if is_foreign(item, raw):
                raise _RejectedError(f"is no {form.name}")
            warnings[ODD_PARENT] += has_odd_parent(item)
            if form.has_odd_pairs(item):
                warnings[INDEXES] += has_indexes(form.on_the_wire, raw)
                raw = known_pairs(form.on_the_wire, raw)
                item = parse(raw)
            if over(item, limits):
                raw = within_counts(signal, raw, limits)
                item = parse(raw)
                warnings[TOO_MANY_PARTS] += 1
        except (DecodeError, WireError):
            raise _RejectedError("can not be decoded (invalid UTF-8, or nested too deep)") from None
        if cut_keys(item, limits.key_bytes):
            raw = messages.serialized(item)
            warnings[CUT_KEYS] += 1
        if len(raw) > long_bytes:
            if cut_values(item, value_bytes):
                raw = messages.serialized(item)
                warnings[CUT_VALUES] += 1
            if len(raw) > item_bytes:
                raise _RejectedError(f"larger than {item_bytes} bytes", item.trace_id)
        return raw

    return judge


def _resource(parts: Sequence[bytes]) -> Any:
    request = messages.RequestSkeleton()
    request.resources.add(resource=parts)
    return messages.TracesRequest.FromString(request.SerializeToString()).resource_spans[0].resource


def _scope(parts: Sequence[bytes]) -> Any:
    request = messages.RequestSkeleton()
    request.resources.add().scopes.add(scope=parts)
    return (
        messages.TracesRequest.FromString(request.SerializeToString()).resource_spans[0].scope_spans[0].scope
    )


_ENVELOPES = {"resource": _resource, "scope": _scope}
"""Parsed as items are: as deep as in a request, where each of their parts must be whole by itself."""


def _envelope(
    name: str, parts: Sequence[bytes], limits: Limits, elements: Elements, warnings: Counter[str]
) -> tuple[str, bytes | None]:
    """Why what lies in this resource or scope can not be stored, and its bytes if they had to be cut."""
    parse = _ENVELOPES[name]
    raw, cut = b"".join(parts), None
    try:
        if len(raw) > WALK_BYTES:
            elements.count(name, raw)
        parsed = parse(parts)
        if has_odd_pairs(parsed, 1 if name == "resource" else 3):
            warnings[INDEXES] += has_indexes(name, raw)
            raw = cut = known_pairs(name, raw)
            parsed = parse([raw])
    except (DecodeError, WireError):
        return "resource or scope can not be decoded", None
    if len(raw) > limits.value_bytes and cut_values(parsed, limits.value_bytes):
        raw = cut = messages.serialized(parsed)
    return ("resource or scope is too large" if len(raw) > limits.item_bytes else ""), cut


def _mend_url(owner: Any) -> bool:
    """Whether its schema URL was no UTF-8, and now is; of several each, since all are read."""
    mended = [url.decode(errors="replace").encode() for url in owner.schema_url]
    if mended == list(owner.schema_url):
        return False
    owner.schema_url[:] = mended
    return True


def _not_protobuf(signal: Signal, body: bytes) -> NotOtlpError:
    is_json = body.lstrip()[:1] in (b"{", b"[")
    return NotOtlpError(
        f"the body is not an OTLP {signal} request in protobuf"
        + ("; is it JSON sent as application/x-protobuf?" if is_json else "")
    )


def _data_points(body: bytes, limits: Limits) -> int:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    if (other := mistaken(Signal.METRICS, body, limits)) is not None:
        raise sent_as(Signal.METRICS, other)
    try:
        if are_no_metrics(body):
            raise NotOtlpError("no metric has a name: is this another signal than metrics?")
        if len(body) > WHOLE_BYTES:
            return count_data_points(body)
        request = ExportMetricsServiceRequest.FromString(body)
    except (DecodeError, WireError):
        raise _not_protobuf(Signal.METRICS, body) from None
    count = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = metric.WhichOneof("data")
                count += len(getattr(metric, data).data_points) if data else 0
    return count
