"""The structure check on the way in: what can not be stored is refused item by item, never the whole request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from collector.otlp import messages
from collector.otlp.signal import Signal

NO_TRACE = bytes(16)
NO_SPAN = bytes(8)


class NotOtlpError(ValueError):
    """The body is not a request of its signal; the message says what is wrong, without quoting the body."""


@dataclass(slots=True)
class Checked:
    """What of a request can be stored."""

    body: bytes
    """The request as protobuf, without what was rejected."""
    accepted: int
    rejected: int = 0
    reasons: str = ""
    """Why items were rejected, each reason with its count."""


def check(signal: Signal, body: bytes) -> Checked:
    """Judges a protobuf request.

    Raises:
        NotOtlpError: nothing in it makes sense.
    """
    if signal is Signal.METRICS:
        return Checked(b"", _data_points(body))
    message, item_name, wrong = _SIGNALS[signal]
    try:
        request = message.FromString(body)
    except DecodeError:
        return _item_by_item(signal, body)
    count = 0
    for resource in getattr(request, f"resource_{signal_suffix(signal)}"):
        for scope in getattr(resource, f"scope_{signal_suffix(signal)}"):
            items = getattr(scope, item_name)
            count += len(items)
            for item in items:
                if wrong(item):
                    return _item_by_item(signal, body)
    return Checked(body, count)


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


_SIGNALS: dict[Signal, tuple[Any, str, Callable[[Any], str]]] = {
    Signal.TRACES: (messages.TracesRequest, "spans", wrong_span),
    Signal.LOGS: (messages.LogsRequest, "log_records", wrong_log_record),
}
_ITEMS = {Signal.TRACES: messages.Span, Signal.LOGS: messages.LogRecord}


def _item_by_item(signal: Signal, body: bytes) -> Checked:
    """Parses each item alone and keeps the good ones, byte for byte."""
    try:
        skeleton = messages.RequestSkeleton.FromString(body)
    except DecodeError:
        raise NotOtlpError(f"the body is not an OTLP {signal} request in protobuf") from None
    *_, wrong = _SIGNALS[signal]
    reasons: Counter[str] = Counter()
    accepted = 0
    for resource in skeleton.resources:
        resource_reason = _undecodable(messages.Resource, resource.resource)
        for scope in resource.scopes:
            shared_reason = resource_reason or _undecodable(messages.InstrumentationScope, scope.scope)
            kept = []
            for raw in scope.items:
                reason = shared_reason
                if not reason:
                    try:
                        reason = wrong(_ITEMS[signal].FromString(raw))
                    except DecodeError:
                        reason = "can not be decoded (invalid UTF-8, or nested too deep)"
                if reason:
                    reasons[reason] += 1
                else:
                    kept.append(raw)
            del scope.items[:]
            scope.items.extend(kept)
            accepted += len(kept)
            if shared_reason:
                scope.ClearField("scope")
        if resource_reason:
            resource.ClearField("resource")
    rejected = reasons.total()
    if rejected and not accepted and set(reasons) <= {"trace id is not 16 bytes"}:
        raise NotOtlpError(f"no item has a trace id of 16 bytes: is this another signal than {signal}?")
    if not rejected:
        raise NotOtlpError(f"the body is not an OTLP {signal} request in protobuf")
    said = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
    return Checked(skeleton.SerializeToString(), accepted, rejected, said)


def _undecodable(message: Any, raw: bytes) -> str:
    try:
        message.FromString(raw)
    except DecodeError:
        return "resource or scope can not be decoded"
    return ""


def _data_points(body: bytes) -> int:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        raise NotOtlpError("the body is not an OTLP metrics request in protobuf") from None
    count = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = metric.WhichOneof("data")
                count += len(getattr(metric, data).data_points) if data else 0
    return count
