"""Small runs made by hand: an agent, its model call and its tool call, in OTLP protobuf."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

SECOND = 10**9


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    return [KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value})) for key, value in values.items()]


def messages(role: str, said: str, **more: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": said}], **more}])


def run(
    run_id: str,
    said: str,
    *,
    user: str = "",
    session: str = "",
    begins_ns: int | None = None,
    of_call: Mapping[str, Any] | None = None,
    scope_name: str = "by.hand",
    first: int = 1,
) -> bytes:
    """A request with a run in which `said` is asked and answered; `first` is the id of its first span."""
    begin = time.time_ns() - 10 * SECOND if begins_ns is None else begins_ns
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes({"service.name": "told", "telemetry.sdk.name": "hand"}))
    scope = resource.scope_spans.add()
    scope.scope.name = scope_name
    whose = {name: value for name, value in (("user.id", user), ("gen_ai.conversation.id", session)) if value}
    for number, (name, parent, values) in enumerate(
        (
            (
                "agent",
                0,
                {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"},
            ),
            (
                "chat",
                1,
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4o-mini",
                    "gen_ai.response.id": f"resp-{run_id}",
                    "gen_ai.usage.input_tokens": 100,
                    "gen_ai.usage.output_tokens": 20,
                    "gen_ai.input.messages": messages("user", said),
                    "gen_ai.output.messages": messages("assistant", f"{said}!", finish_reason="stop"),
                    **(of_call or {}),
                },
            ),
            (
                "look up",
                1,
                {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": "search",
                    "gen_ai.tool.call.arguments": f'{{"query":"{said}"}}',
                    "gen_ai.tool.call.result": said,
                },
            ),
        ),
        1,
    ):
        scope.spans.add(
            trace_id=bytes.fromhex(run_id),
            span_id=(first + number - 1).to_bytes(8, "big"),
            parent_span_id=(first + parent - 1).to_bytes(8, "big") if parent else b"",
            name=name,
            kind=1,
            start_time_unix_nano=begin + number * SECOND // 10,
            end_time_unix_nano=begin + (8 - number) * SECOND // 10,
            attributes=attributes({**values, **whose}),
        )
    return request.SerializeToString()


def record(
    said: str, *, run_id: str = "", scope: str = "by.hand", of: Mapping[str, Any] | None = None
) -> bytes:
    """A request with a log record."""
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    logs.resource.attributes.extend(attributes({"service.name": "told"}))
    inner = logs.scope_logs.add()
    inner.scope.name = scope
    inner.log_records.add(
        time_unix_nano=time.time_ns(),
        trace_id=bytes.fromhex(run_id),
        body=AnyValue(string_value=said),
        attributes=attributes(of or {}),
    )
    return request.SerializeToString()
