"""Made-up requests in the sizes that programs send: whole runs of agents, with ids and times of their own."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MILLISECOND = 1_000_000

Attributes = dict[str, str | int]
Told = tuple[str, Attributes]
"""A span's name and its attributes."""


@dataclass(frozen=True)
class Workload:
    """`attributes` tells of a span by its place in the run, from a source of chance."""

    name: str
    spans: int
    """In a request, about."""
    attributes: Callable[[int, random.Random], Told]


_WORDS = [
    "".join(random.Random(number).choices("abcdefghijklmnoprstuvwy", k=2 + number % 9))
    for number in range(3000)
]


def _text(chance: random.Random, size: int) -> str:
    found: list[str] = []
    while size > 0:
        found += (word := chance.choice(_WORDS), chance.choice((" ", " ", " ", ", ", ".\n", " é ")))
        size -= len(word) + 1
    return "".join(found)


def _small(place: int, chance: random.Random) -> Told:
    attributes: Attributes = {f"app.part.{number}": chance.randrange(1000) for number in range(8)}
    return "step", attributes | {"app.note": _text(chance, 100)}


def _openinference(size: int) -> Callable[[int, random.Random], Told]:
    def attributes(place: int, chance: random.Random) -> Told:
        if place == 0:
            asked = {"input.value": _text(chance, size // 4), "output.value": _text(chance, size // 4)}
            return "agent", {"openinference.span.kind": "AGENT", "agent.name": "helper", **asked}
        if place % 3 == 1:
            prompt, answer = _text(chance, size), _text(chance, size // 2)
            return "chat", {
                "openinference.span.kind": "LLM",
                "llm.model_name": "gpt-4o-mini",
                "llm.provider": "openai",
                "llm.invocation_parameters": json.dumps({"temperature": 0.2, "max_tokens": 500}),
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.content": prompt,
                "llm.output_messages.0.message.role": "assistant",
                "llm.output_messages.0.message.content": answer,
                "llm.token_count.prompt": chance.randrange(100, 5000),
                "llm.token_count.completion": chance.randrange(10, 500),
                "input.value": json.dumps([{"role": "user", "content": prompt[: size // 2]}]),
                "input.mime_type": "application/json",
            }
        if place % 3 == 2:
            return "search", {
                "openinference.span.kind": "TOOL",
                "tool.name": "search",
                "input.value": json.dumps({"query": _text(chance, 40)}),
                "output.value": _text(chance, size),
            }
        asked = {"input.value": _text(chance, size // 2), "output.value": _text(chance, size // 2)}
        return "chain", {"openinference.span.kind": "CHAIN", **asked}

    return attributes


def _gen_ai(place: int, chance: random.Random) -> Told:
    if place == 0:
        return "invoke_agent helper", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
    if place % 2:
        said = [{"role": "user", "parts": [{"type": "text", "content": _text(chance, 1200)}]}]
        answer = [{"role": "assistant", "parts": [{"type": "text", "content": _text(chance, 600)}]}]
        return "chat gpt-4o-mini", {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.id": f"chatcmpl-{chance.getrandbits(64):x}",
            "gen_ai.usage.input_tokens": chance.randrange(100, 5000),
            "gen_ai.usage.output_tokens": chance.randrange(10, 500),
            "gen_ai.input.messages": json.dumps(said),
            "gen_ai.output.messages": json.dumps(answer),
        }
    return "execute_tool search", {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": f"call_{chance.getrandbits(48):x}",
        "gen_ai.tool.call.arguments": json.dumps({"query": _text(chance, 40)}),
        "gen_ai.tool.call.result": _text(chance, 900),
    }


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("small", 100, _small),
        Workload("agents", 100, _openinference(1_400)),
        Workload("gen_ai", 100, _gen_ai),
        Workload("large", 25, _openinference(12_000)),
    )
}


def requests(workload: Workload, seed: int = 0) -> Iterator[ExportTraceServiceRequest]:
    """Requests without end, none like another."""
    chance = random.Random(seed)
    while True:
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        _put(resource_spans.resource.attributes, {"service.name": "bench", "service.version": "1"})
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name = "bench"
        while len(scope_spans.spans) < workload.spans:
            _add_run(scope_spans.spans, workload, chance)
        yield request


def _add_run(spans: Any, workload: Workload, chance: random.Random) -> None:
    trace_id, root_id = chance.randbytes(16), chance.randbytes(8)
    began = time.time_ns()
    size = chance.randrange(10, 30)
    for place in range(size):
        name, attributes = workload.attributes(place, chance)
        span = spans.add(trace_id=trace_id, span_id=chance.randbytes(8) if place else root_id, name=name)
        span.parent_span_id = root_id if place else b""
        span.kind = 1
        span.start_time_unix_nano = began + place * MILLISECOND
        span.end_time_unix_nano = began + (place + 1 if place else size) * MILLISECOND
        _put(span.attributes, attributes)


def _put(target: Any, attributes: Attributes) -> None:
    for key, value in attributes.items():
        put = target.add(key=key).value
        if isinstance(value, str):
            put.string_value = value
        else:
            put.int_value = value
