"""An event in the words of the OpenTelemetry GenAI conventions, whatever convention its span came in."""

from __future__ import annotations

import json
from typing import Any

from mappers.model import Event, Kind, Status

_OPERATIONS = {
    Kind.LLM: "chat",
    Kind.EMBEDDING: "embeddings",
    Kind.TOOL: "execute_tool",
    Kind.AGENT: "invoke_agent",
    Kind.WORKFLOW: "invoke_workflow",
    Kind.RETRIEVER: "retrieval",
}
"""`gen_ai.operation.name` of a kind whose span names none."""
CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)
"""Attributes that hold what was read and written."""
_CALLS = (Kind.LLM, Kind.EMBEDDING, Kind.RERANKER)


def gen_ai_attributes(event: Event, *, content: bool) -> dict[str, Any]:
    """The attributes, as far as the event knows; {} for what is no work of a model, a tool or an agent.

    What was read and written is in it only with `content`, and as the preview that the event keeps. Beside the
    conventions' there are `eddyline.*`: the kind, the cost in US dollars, and the twin that is counted instead.
    """
    if event.kind == Kind.OTHER:
        return {}
    known: dict[str, Any] = {
        "gen_ai.operation.name": event.operation or _OPERATIONS.get(Kind(event.kind), ""),
        "gen_ai.agent.name": event.agent,
        "gen_ai.conversation.id": event.session_id,
        "error.type": event.error_type if event.status == Status.ERROR else "",
        "eddyline.kind": str(event.kind),
        "eddyline.convention": event.convention,
        "eddyline.duplicate_of": event.duplicate_of,
        "eddyline.cost_usd": None if event.cost_usd is None else float(event.cost_usd),
    }
    if event.kind in _CALLS:
        known |= _of_call(event)
    elif event.kind in (Kind.TOOL, Kind.HANDOFF):
        known |= {"gen_ai.tool.name": event.tool, "gen_ai.tool.call.id": event.tool_call_id}
    if content:
        known |= _content(event)
    return {name: value for name, value in known.items() if value not in (None, "", [])}


def _of_call(event: Event) -> dict[str, Any]:
    return {
        "gen_ai.provider.name": event.provider,
        "gen_ai.request.model": event.request_model,
        "gen_ai.response.model": event.response_model,
        "gen_ai.response.id": event.response_id,
        "gen_ai.response.finish_reasons": list(event.finish_reasons),
        "gen_ai.response.time_to_first_chunk": None if event.ttft_ms is None else event.ttft_ms / 1000,
        "gen_ai.usage.input_tokens": event.input_tokens,
        "gen_ai.usage.output_tokens": event.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": event.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": event.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": event.reasoning_tokens,
    }


def _content(event: Event) -> dict[str, Any]:
    if event.kind == Kind.TOOL:
        return {"gen_ai.tool.call.arguments": event.input, "gen_ai.tool.call.result": event.output}
    return {
        "gen_ai.input.messages": _message("user", event.input),
        "gen_ai.output.messages": _message("assistant", event.output),
    }


def _message(role: str, text: str) -> str:
    if not text:
        return ""
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": text}]}],
        ensure_ascii=False,
        separators=(",", ":"),
    )
