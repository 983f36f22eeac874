"""Operations that have ended, as an OTLP request: a span for each, and one within it for each of its steps.

Names of attributes are those of OpenTelemetry's semantic conventions where these have any; what only a collector like
this one has begins with `eddyline.`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.telemetry.operations import OWN_SCOPE, Ended, Kind, Step

KINDS = {
    Kind.WORK: Span.SpanKind.SPAN_KIND_INTERNAL,
    Kind.ANSWER: Span.SpanKind.SPAN_KIND_SERVER,
    Kind.REQUEST: Span.SpanKind.SPAN_KIND_SERVER,
    Kind.UNTOLD: Span.SpanKind.SPAN_KIND_INTERNAL,
}
DATABASE = "db.system.name"
"""A step that is told this is done by the database."""
_FLAGS = 0x101
"""Sampled; and it is known that a parent, if there is one, is of another process or not."""


def request_of(ended: Iterable[Ended], resource: Mapping[str, Any], *, version: str) -> bytes:
    """The request in protobuf.

    Args:
        resource: attributes of the collector.
    """
    request = ExportTraceServiceRequest()
    told = request.resource_spans.add()
    _label(told.resource.attributes, resource)
    scope = told.scope_spans.add()
    scope.scope.name, scope.scope.version = OWN_SCOPE, version
    for operation in ended:
        doing = operation.doing
        whole = scope.spans.add(
            trace_id=doing.trace_id,
            span_id=_span_id(),
            parent_span_id=doing.parent_id,
            name=operation.name,
            kind=KINDS[operation.kind],
            start_time_unix_nano=doing.began_ns,
            end_time_unix_nano=operation.ended_ns,
            flags=_FLAGS | (0x200 if doing.parent_id else 0),
        )
        _label(whole.attributes, operation.told)
        _failed(whole, operation.error)
        for step in doing.steps:
            _add_step(scope.spans, whole, step)
    return bytes(request.SerializeToString())


def _add_step(spans: Any, whole: Any, step: Step) -> None:
    is_database = DATABASE in step.told
    part = spans.add(
        trace_id=whole.trace_id,
        span_id=_span_id(),
        parent_span_id=whole.span_id,
        name=step.name,
        kind=Span.SpanKind.SPAN_KIND_CLIENT if is_database else Span.SpanKind.SPAN_KIND_INTERNAL,
        start_time_unix_nano=step.began_ns,
        end_time_unix_nano=max(step.began_ns, step.ended_ns),
        flags=_FLAGS,
    )
    _label(part.attributes, step.told)
    _failed(part, step.error)


def _failed(span: Any, error: str) -> None:
    if error:
        span.status.code, span.status.message = Status.StatusCode.STATUS_CODE_ERROR, error


def _span_id() -> bytes:
    return random.randbytes(8)  # noqa: S311  # no secret


def _label(attributes: Any, told: Mapping[str, Any]) -> None:
    """What is nothing, or "", is not told."""
    for key, value in told.items():
        if value is None or value == "":
            continue
        said = attributes.add(key=key if "." in key else f"eddyline.{key}").value
        if isinstance(value, bool):
            said.bool_value = value
        elif isinstance(value, int):
            said.int_value = value
        elif isinstance(value, float):
            said.double_value = value
        else:
            said.string_value = str(value)
