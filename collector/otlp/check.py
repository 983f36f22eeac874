"""The structure check on the way in: what can not be stored is refused item by item, never the whole request.

A small request is parsed whole, which is quickest. A large one is looked through on the wire first, and its items are
parsed a few at a time: two bytes may become two hundred in memory, and so 64 MiB thirteen GiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from collector.otlp import messages
from collector.otlp.limits import DEFAULT, Limits, TooManyError
from collector.otlp.longkeys import cut_keys, long_keys
from collector.otlp.signal import Signal
from collector.otlp.values import cut_values
from collector.otlp.wire import Elements, WireError, count_data_points, count_entries, within_counts

NO_TRACE = bytes(16)
NO_SPAN = bytes(8)
WHOLE_BYTES = 256 << 10
"""Requests up to here are parsed whole: at worst that takes 23 MB for a moment."""
HANDFUL = 64
"""Items of a large request that are parsed at once, as long as they are no more than `WHOLE_BYTES`."""
COUNT_BYTES = 2 << 20
"""Requests from here on are walked down to their items first; below, the skeleton takes 80 MB at worst."""
WALK_BYTES = 64 << 10
"""Items from here on are walked before they are parsed."""

CUT_VALUES = "an item has values that are too long; they are cut"
CUT_KEYS = "an item has keys that are too long; they are cut"
TOO_MANY_PARTS = "an item has more attributes, events or links than are kept; the first ones are"
ENUM_NAMES = "an enum is written as a name; OTLP/JSON has numbers"
"""Warnings."""


class NotOtlpError(ValueError):
    """The body is not a request of its signal; the message says what is wrong, without quoting the body."""


class _RejectedError(ValueError):
    """One item can not be stored; the message is its reason."""


@dataclass(slots=True)
class Checked:
    """What of a request can be stored."""

    body: bytes
    """The request as protobuf, without what was rejected."""
    accepted: int
    rejected: int = 0
    reasons: str = ""
    """Why items were rejected, each reason with its count."""
    warnings: str = ""
    """What was done to items that are kept, each with its count."""


def check(signal: Signal, body: bytes, limits: Limits = DEFAULT) -> Checked:
    """Judges a protobuf request.

    Raises:
        NotOtlpError: nothing in it makes sense.
        TooManyError: it has more parts than can be looked through.
    """
    if signal is Signal.METRICS:
        return Checked(b"", _data_points(body))
    form = _FORMS[signal]
    if len(body) > WHOLE_BYTES or long_keys(signal, limits.key_bytes).search(body):
        return _item_by_item(signal, body, limits)
    try:
        request = form.request.FromString(body)
    except DecodeError:
        return _item_by_item(signal, body, limits, parsed=False)
    count = 0
    for resource in getattr(request, f"resource_{signal_suffix(signal)}"):
        for scope in getattr(resource, f"scope_{signal_suffix(signal)}"):
            items = getattr(scope, form.items)
            count += len(items)
            if not form.all_well(items, limits):
                return _item_by_item(signal, body, limits)
    return Checked(body, count) if count <= limits.items else _item_by_item(signal, body, limits)


def signal_suffix(signal: Signal) -> str:
    """How OTLP names a signal's parts: `resource_spans`, `resource_logs`."""
    return "spans" if signal is Signal.TRACES else signal.value


def wrong_span(span: Any) -> str:
    """Why a span can not be stored; "" if it can."""
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != 16 or trace_id == NO_TRACE:
        return "trace id is not 16 bytes" if len(trace_id) != 16 else "trace id is zero"
    if len(span_id) != 8 or span_id == NO_SPAN:
        return "span id is not 8 bytes" if len(span_id) != 8 else "span id is zero"
    return ""


def wrong_log_record(record: Any) -> str:
    """Why a log record can not be stored; "" if it can. It need not belong to a span."""
    if len(record.trace_id) not in (0, 16):
        return "trace id is not 16 bytes"
    if len(record.span_id) not in (0, 8):
        return "span id is not 8 bytes"
    return ""


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


def _all_spans_well(spans: Any, limits: Limits) -> bool:
    """Whether all can be stored as they are. `wrong_span` and `_over_span` say the same of one, at twice the cost."""
    attributes, events, links = limits.attributes, limits.events, limits.links
    for span in spans:
        trace_id, span_id = span.trace_id, span.span_id
        if len(trace_id) != 16 or trace_id == NO_TRACE or len(span_id) != 8 or span_id == NO_SPAN:
            return False
        if len(span.attributes) > attributes:
            return False
        if (some := span.events) and (len(some) > events or _any_over(some, limits)):
            return False
        if (some := span.links) and (len(some) > links or _any_over(some, limits)):
            return False
    return True


def _all_log_records_well(records: Any, limits: Limits) -> bool:
    return not any(wrong_log_record(record) or _over_log_record(record, limits) for record in records)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a signal's items lie in its requests, and what they must be."""

    request: Any
    scope: Any
    items: str
    """Their field of the scope."""
    item: Any
    on_the_wire: str
    """What `wire` calls an item."""
    wrong: Callable[[Any], str]
    over: Callable[[Any, Limits], bool]
    all_well: Callable[[Any, Limits], bool]


_FORMS = {
    Signal.TRACES: _Form(
        messages.TracesRequestShape,
        messages.ScopeSpansShape,
        "spans",
        messages.Span,
        "span",
        wrong_span,
        _over_span,
        _all_spans_well,
    ),
    Signal.LOGS: _Form(
        messages.LogsRequestShape,
        messages.ScopeLogsShape,
        "log_records",
        messages.LogRecord,
        "log",
        wrong_log_record,
        _over_log_record,
        _all_log_records_well,
    ),
}


def _item_by_item(signal: Signal, body: bytes, limits: Limits, *, parsed: bool = True) -> Checked:
    """Parses items by the handful, and each alone of a handful that is not all well; keeps the good ones, byte for byte
    unless they are cut.

    Args:
        parsed: False if the body is known not to parse as a whole.
    """
    try:
        if len(body) > COUNT_BYTES:
            count_entries(body, limits)
        skeleton = messages.RequestSkeleton.FromString(body)
    except (DecodeError, WireError):
        raise NotOtlpError(f"the body is not an OTLP {signal} request in protobuf") from None
    reasons: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    elements = Elements()
    accepted = 0
    changed = False
    judge = _judge_of(signal, limits, elements, warnings)
    _refuse_too_many("resources", len(skeleton.resources), limits.resources)
    scopes = 0
    for resource in skeleton.resources:
        changed |= _mend_url(resource)
        scopes += len(resource.scopes)
        _refuse_too_many("scopes", scopes, limits.scopes)
        resource_reason, shared = _envelope("resource", resource.resource, limits, elements)
        if shared is not None:
            resource.resource, changed = shared, True
        for scope in resource.scopes:
            changed |= _mend_url(scope)
            scope_reason, shared = _envelope("scope", scope.scope, limits, elements)
            if shared is not None:
                scope.scope, changed = shared, True
            items = list(scope.items)
            kept = []
            if reason := resource_reason or scope_reason:
                reasons[reason] += len(items)
                scope.ClearField("scope")
            else:
                for start in range(0, len(items), HANDFUL):
                    handful = items[start : start + HANDFUL]
                    if _well_together(signal, handful, limits):
                        kept += handful
                        continue
                    for item in handful:
                        try:
                            kept.append(judge(item))
                        except _RejectedError as error:
                            reasons[str(error)] += 1
                if (surplus := accepted + len(kept) - limits.items) > 0:
                    reasons[f"more than {limits.items} items in one request"] += surplus
                    del kept[-surplus:]
            accepted += len(kept)
            if kept != items:
                changed = True
                del scope.items[:]
                scope.items.extend(kept)
        if resource_reason:
            resource.ClearField("resource")
    rejected = reasons.total()
    if rejected and not accepted and set(reasons) <= {"trace id is not 16 bytes"}:
        raise NotOtlpError(f"no item has a trace id of 16 bytes: is this another signal than {signal}?")
    if not changed and not parsed:
        raise NotOtlpError(f"the body is not an OTLP {signal} request in protobuf")
    kept_body = skeleton.SerializeToString() if changed else body
    return Checked(kept_body, accepted, rejected, listed(reasons), listed(warnings))


def listed(counted: Counter[str]) -> str:
    return ", ".join(f"{count} × {what}" for what, count in counted.most_common())


def _refuse_too_many(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise TooManyError(f"more than {limit} {what} in one request")


def _well_together(signal: Signal, items: list[bytes], limits: Limits) -> bool:
    """Whether these items, parsed at once, are all as they may be stored: half of what one at a time costs."""
    longest = max(map(len, items))
    if longest > min(WALK_BYTES, limits.value_bytes, limits.item_bytes) or sum(map(len, items)) > WHOLE_BYTES:
        return False
    form = _FORMS[signal]
    together = messages.ScopeSkeleton(items=items).SerializeToString()
    if long_keys(signal, limits.key_bytes).search(together):
        return False
    try:
        scope = form.scope.FromString(together)
    except DecodeError:
        return False
    return form.all_well(getattr(scope, form.items), limits)


def _judge_of(
    signal: Signal, limits: Limits, elements: Elements, warnings: Counter[str]
) -> Callable[[bytes], bytes]:
    """A function that returns an item as it can be stored, and raises _RejectedError if it can not be."""
    form = _FORMS[signal]
    wrong, over, parse = form.wrong, form.over, form.item.FromString
    value_bytes, item_bytes = limits.value_bytes, limits.item_bytes
    long_bytes = min(value_bytes, item_bytes)
    key_bytes, has_long_keys = limits.key_bytes, long_keys(signal, limits.key_bytes).search

    def judge(raw: bytes) -> bytes:
        try:
            if len(raw) > WALK_BYTES:
                elements.count(form.on_the_wire, raw)
            item = parse(raw)
            if reason := wrong(item):
                raise _RejectedError(reason)
            if over(item, limits):
                raw = within_counts(signal, raw, limits)
                item = parse(raw)
                warnings[TOO_MANY_PARTS] += 1
        except (DecodeError, WireError):
            raise _RejectedError("can not be decoded (invalid UTF-8, or nested too deep)") from None
        if has_long_keys(raw) and cut_keys(item, key_bytes):
            raw = messages.serialized(item)
            warnings[CUT_KEYS] += 1
        if len(raw) > long_bytes:
            if cut_values(item, value_bytes):
                raw = messages.serialized(item)
                warnings[CUT_VALUES] += 1
            if len(raw) > item_bytes:
                raise _RejectedError(f"larger than {item_bytes} bytes")
        return raw

    return judge


def _envelope(name: str, raw: bytes, limits: Limits, elements: Elements) -> tuple[str, bytes | None]:
    """Why what lies in this resource or scope can not be stored, and its bytes if they had to be cut."""
    message = messages.Resource if name == "resource" else messages.InstrumentationScope
    try:
        if len(raw) > WALK_BYTES:
            elements.count(name, raw)
        parsed = message.FromString(raw)
    except (DecodeError, WireError):
        return "resource or scope can not be decoded", None
    cut = None
    if len(raw) > limits.value_bytes and cut_values(parsed, limits.value_bytes):
        raw = cut = messages.serialized(parsed)
    return ("resource or scope is too large" if len(raw) > limits.item_bytes else ""), cut


def _mend_url(owner: Any) -> bool:
    """Whether its schema URL was no UTF-8, and now is."""
    try:
        owner.schema_url.decode()
    except UnicodeDecodeError:
        owner.schema_url = owner.schema_url.decode(errors="replace").encode()
        return True
    return False


def _data_points(body: bytes) -> int:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    try:
        if len(body) > WHOLE_BYTES:
            return count_data_points(body)
        request = ExportMetricsServiceRequest.FromString(body)
    except (DecodeError, WireError):
        raise NotOtlpError("the body is not an OTLP metrics request in protobuf") from None
    count = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = metric.WhichOneof("data")
                count += len(getattr(metric, data).data_points) if data else 0
    return count
