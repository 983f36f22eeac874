"""Claude Code (its documentation, "Monitoring"): tokens as Anthropic counts them, without the cache.

What an answer says is a record beside that of its request, and the provider's request id says of which.
"""

from mappers.agent_logs.base import AgentLogs, outcome
from mappers.conventions.base import Const, Quirk
from mappers.model import Kind

AGENT = AgentLogs(
    id="claude_code",
    prefixes=("claude_code.",),
    scopes=r"^com\.anthropic\.claude_code\b",
    kinds={
        "user_prompt": Kind.OTHER,
        "api_request": Kind.LLM,
        "api_error": Kind.LLM,
        "assistant_response": Kind.LLM,
        "tool_result": Kind.TOOL,
    },
    failures=frozenset({"api_error"}),
    answers=frozenset({"assistant_response"}),
    twice=("request_id",),
    fields={
        "session_id": ["session.id"],
        "user_id": ["user.id", "user.account_uuid", "user.email"],
        "outcome": [outcome()],
        "error_type": ["error_type", "status_code"],
        "error_message": ["error", "error_message"],
        "provider": [Const("anthropic")],
        "request_model": ["model"],
        "response_id": ["request_id"],
        "finish_reasons": ["stop_reason"],
        "ttft_ms": ["ttft_ms"],
        "input_tokens": ["input_tokens"],
        "output_tokens": ["output_tokens"],
        "cache_read_tokens": ["cache_read_tokens"],
        "cache_write_tokens": ["cache_creation_tokens"],
        "cost_usd": ["cost_usd"],
        "tool": ["tool_name"],
        "tool_call_id": ["tool_use_id"],
        "arguments": ["tool_input", "tool_parameters"],
        "result": ["tool_output", "tool_result"],
        "input": ["prompt"],
        "output": ["response"],
    },
    quirks=(Quirk(when=Kind.LLM, input_excludes_cache=True),),
)
