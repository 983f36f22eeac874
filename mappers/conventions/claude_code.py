"""Claude Code's spans: plain names without a prefix; tokens as Anthropic counts them, without the cache."""

from collections.abc import Callable

from mappers.conventions.base import (
    Computed,
    Const,
    Convention,
    EventAttribute,
    KindByName,
    KindByValue,
    Quirk,
)
from mappers.model import AttributeValue, Kind


def _failed(success: AttributeValue) -> str | None:
    return "error" if success is False or success == "false" else None


def _resent(attempt: AttributeValue) -> int | None:
    """Attempts are counted from 1."""
    return attempt - 1 if isinstance(attempt, int) and attempt > 0 else None


def _below_its_heading(key: str, heading: str) -> Computed:
    """What detailed traces write below a heading of their own: `[TOOL INPUT: Bash]`, a line of its own."""

    def read(get: Callable[[str], AttributeValue]) -> AttributeValue:
        value = get(key)
        if not isinstance(value, str) or not value.startswith("["):
            return value
        first, _, rest = value.partition("\n")
        return rest if first.startswith(f"[{heading}: ") and first.endswith("]") else value

    return Computed(read, (key,))


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
                # A tool's run once more, which alone tells that it failed; what it waited for before.
                "tool.execution": Kind.TOOL,
                "tool.blocked_on_user": Kind.OTHER,
                "hook": Kind.OTHER,
            },
        ),
        KindByName(Kind.AGENT, r"claude_code\.interaction$", order=80),
        KindByName(Kind.LLM, r"claude_code\.llm_request$", order=80),
        KindByName(Kind.TOOL, r"claude_code\.tool$", order=80),
    ),
    fields={
        "agent": [Const("claude_code")],
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
        "arguments": [
            _below_its_heading("tool_input", "TOOL INPUT"),
            "full_command",
            "file_path",
            EventAttribute("tool.output", "bash_command"),
        ],
        "result": [
            "tool_output",
            EventAttribute("tool.output", "output"),
            EventAttribute("tool.output", "content"),
            EventAttribute("tool.output", "diff"),
            _below_its_heading("new_context", "TOOL RESULT"),
        ],
        "input": ["user_prompt", "new_context"],
        "output": ["response.model_output"],
    },
    quirks=(Quirk(scope=r"^com\.anthropic\.claude_code\b", when=Kind.LLM, input_excludes_cache=True),),
)
