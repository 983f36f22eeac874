"""LangWatch's SDKs: `langwatch.*`, contents as JSON envelopes `{"type": …, "value": …}`."""

from mappers.conventions.base import Computed, Convention, Json, KindByValue, NameMatch
from mappers.messages.document import member, parse
from mappers.model import AttributeValue, Kind

_METRICS = "langwatch.metrics"
_TIMESTAMPS = "langwatch.timestamps"


def _first_token_ms(timestamps: AttributeValue) -> float | None:
    """Times are in milliseconds since the epoch."""
    times = parse(timestamps) if isinstance(timestamps, str) else timestamps
    started, first = member(times, ("started_at",)), member(times, ("first_token_at",))
    return first - started if started and first else None


CONVENTION = Convention(
    id="langwatch",
    priority=50,
    keys=("langwatch.span.type",),
    scopes=(r"^langwatch@",),
    kinds=(
        KindByValue(
            "langwatch.span.type",
            {
                "llm": Kind.LLM,
                "tool": Kind.TOOL,
                "agent": Kind.AGENT,
                "chain": Kind.WORKFLOW,
                "workflow": Kind.WORKFLOW,
                "rag": Kind.RETRIEVER,
                "guardrail": Kind.GUARDRAIL,
                "evaluation": Kind.EVALUATOR,
                "span": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": ["gen_ai.agent.name"],
        "session_id": [
            Json("metadata", "thread_id"),
            Json("metadata", "gen_ai.conversation.id"),
            "langwatch.thread.id",
        ],
        "user_id": [Json("metadata", "user_id"), Json("metadata", "langwatch.user.id"), "langwatch.user.id"],
        "tags": [Json("metadata", "labels"), "langwatch.tags"],
        "metadata": ["metadata"],
        "streaming": [Json("langwatch.params", "stream")],
        "ttft_ms": [Computed(lambda get: _first_token_ms(get(_TIMESTAMPS)), (_TIMESTAMPS,))],
        "input_tokens": [Json(_METRICS, "prompt_tokens"), Json(_METRICS, "promptTokens")],
        "output_tokens": [Json(_METRICS, "completion_tokens"), Json(_METRICS, "completionTokens")],
        "cache_read_tokens": [Json(_METRICS, "cache_read_input_tokens")],
        "cache_write_tokens": [Json(_METRICS, "cache_creation_input_tokens")],
        "reasoning_tokens": [Json(_METRICS, "reasoning_tokens")],
        "cost_usd": [Json(_METRICS, "cost")],
        "tool": [NameMatch(r"(.+)")],
        "arguments": [Json("langwatch.input", "value")],
        "result": [Json("langwatch.output", "value")],
        "input": [Json("langwatch.input", "value")],
        "output": [Json("langwatch.output", "value")],
    },
)
