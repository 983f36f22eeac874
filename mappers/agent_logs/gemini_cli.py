"""Gemini CLI (`docs/cli/telemetry.md` of its repository)."""

from mappers.agent_logs.base import AgentLogs, outcome
from mappers.conventions.base import Quirk
from mappers.model import Kind

AGENT = AgentLogs(
    id="gemini_cli",
    prefixes=("gemini_cli.",),
    session=("session.id", "session_id"),
    kinds={
        "user_prompt": Kind.OTHER,
        "api_response": Kind.LLM,
        "api_error": Kind.LLM,
        "tool_call": Kind.TOOL,
        "conversation_finished": Kind.OTHER,
    },
    failures=frozenset({"api_error"}),
    ends=frozenset({"conversation_finished"}),
    fields={
        "session_id": ["session.id", "session_id"],
        "user_id": ["user.email", "installation.id"],
        "outcome": [outcome()],
        "error_type": ["error_type", "error.type"],
        "error_message": ["error", "error.message", "error_message"],
        "request_model": ["model"],
        "response_id": ["response_id"],
        "finish_reasons": ["finish_reasons"],
        "input_tokens": ["input_token_count"],
        "output_tokens": ["output_token_count"],
        "total_tokens": ["total_token_count"],
        "cache_read_tokens": ["cached_content_token_count"],
        "reasoning_tokens": ["thoughts_token_count"],
        "tool": ["function_name"],
        "tool_call_id": ["call_id"],
        "arguments": ["function_args"],
        "input": ["prompt"],
        "output": ["response_text"],
    },
    # The API counts thoughts apart from what it answers.
    quirks=(Quirk(when=Kind.LLM, output_excludes_reasoning=True),),
)
