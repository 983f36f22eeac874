"""Codex CLI (`docs/config.md` of its repository, "otel", and its records as version 0.137 sends them).

A model call is told when its stream is complete; requests that failed before are told by themselves. Version 0.137
sends each record twice, one named and without content, one of scope `codex_otel.log_only` with content and tokens;
0.169 only the latter, but the end of a stream twice: as it came, and with its tokens.
"""

from mappers.agent_logs.base import AgentLogs, Get, outcome
from mappers.conventions.base import Computed, Const
from mappers.model import Kind

_STREAM = frozenset({"response.completed", "response.failed"})


def _unnamed(get: Get) -> str:
    kind = get("event.kind")
    if isinstance(kind, str) and kind in _STREAM:
        return f"sse_event:{kind}"
    return "tool_result" if get("tool_name") and get("call_id") and get("decision") is None else ""


def _failed_request(get: Get) -> str:
    """A request that went well is told once more when its stream is complete."""
    code = str(get("http.response.status_code") or "")
    failed = get("error.message") or get("error") or (code.isdigit() and int(code) >= 400)
    return "failed" if failed else "sent"


AGENT = AgentLogs(
    id="codex",
    prefixes=("codex.",),
    scopes=r"^codex_otel\b",
    session=("conversation.id", "session.id"),
    kinds={
        "user_prompt": Kind.OTHER,
        "api_request:failed": Kind.LLM,
        "sse_event:response.completed": Kind.LLM,
        "sse_event:response.failed": Kind.LLM,
        "websocket_event:response.completed": Kind.LLM,
        "websocket_event:response.failed": Kind.LLM,
        "tool_result": Kind.TOOL,
    },
    failures=frozenset(
        {"api_request:failed", "sse_event:response.failed", "websocket_event:response.failed"}
    ),
    told_by={"sse_event": "event.kind", "websocket_event": "event.kind", "api_request": _failed_request},
    unnamed=_unnamed,
    twice=("call_id", "event.timestamp"),
    secondary=r"^codex_otel\.log_only\b",
    fields={
        "session_id": ["conversation.id", "session.id"],
        "user_id": ["user.account_id", "user.email"],
        "outcome": [outcome(status="http.response.status_code")],
        "error_message": ["error.message", "error"],
        "error_type": ["http.response.status_code"],
        "provider": [Const("openai")],
        "request_model": ["model"],
        "response_id": ["response.id"],
        "ttft_ms": ["ttft_ms"],
        "input_tokens": ["input_token_count"],
        "output_tokens": ["output_token_count"],
        "cache_read_tokens": ["cached_token_count"],
        "cache_write_tokens": ["cache_write_token_count"],
        "reasoning_tokens": ["reasoning_token_count"],
        "streaming": [Computed(lambda get: get("event.kind") is not None or None, ("event.kind",))],
        "tool": ["tool_name"],
        "tool_call_id": ["call_id"],
        "arguments": ["arguments"],
        "result": ["output"],
        "input": ["prompt"],
    },
)
