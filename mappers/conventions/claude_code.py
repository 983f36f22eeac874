"""Claude Code's spans: plain names without a prefix; tokens as Anthropic counts them, without the cache."""

from mappers.conventions.base import Computed, Convention, KindByName, KindByValue, Quirk
from mappers.model import AttributeValue, Kind


def _failed(success: AttributeValue) -> str | None:
    return "error" if success is False or success == "false" else None


def _resent(attempt: AttributeValue) -> int | None:
    """Attempts are counted from 1."""
    return attempt - 1 if isinstance(attempt, int) and attempt > 0 else None


CONVENTION = Convention(
    id="claude_code",
    priority=79,
    scopes=(r"^com\.anthropic\.claude_code\b",),
    kinds=(
        KindByValue(
            "span.type",
            {
                "interaction": Kind.AGENT,
                "llm_request": Kind.LLM,
                "tool": Kind.TOOL,
                # What a tool waits for, and its run once more.
                "tool.blocked_on_user": Kind.OTHER,
                "tool.execution": Kind.OTHER,
                "hook": Kind.OTHER,
            },
        ),
        KindByName(Kind.AGENT, r"claude_code\.interaction$", order=80),
        KindByName(Kind.LLM, r"claude_code\.llm_request$", order=80),
        KindByName(Kind.TOOL, r"claude_code\.tool$", order=80),
    ),
    fields={
        "session_id": ["session.id"],
        "user_id": ["user.id", "user.account_uuid"],
        "outcome": [Computed(lambda get: _failed(get("success")), ("success",))],
        "error_message": ["error"],
        "request_model": ["model"],
        "response_id": ["gen_ai.response.id", "request_id"],
        "finish_reasons": ["stop_reason"],
        "ttft_ms": ["ttft_ms"],
        "input_tokens": ["input_tokens"],
        "output_tokens": ["output_tokens"],
        "cache_read_tokens": ["cache_read_tokens"],
        "cache_write_tokens": ["cache_creation_tokens"],
        "resend_count": [Computed(lambda get: _resent(get("attempt")), ("attempt",))],
        "tool": ["tool_name"],
        "tool_call_id": ["tool_use_id"],
        "arguments": ["tool_input", "full_command", "file_path"],
        "result": ["tool_output"],
        "input": ["user_prompt", "new_context"],
        "output": ["response.model_output"],
    },
    quirks=(Quirk(scope=r"^com\.anthropic\.claude_code\b", when=Kind.LLM, input_excludes_cache=True),),
)
