"""DeepEval (Confident AI): `confident.*`, which its integrations and programs write beside GenAI keys."""

from collections.abc import Callable

from mappers.conventions.base import Computed, Convention, KindByValue
from mappers.model import AttributeValue, Kind

_SIDES = (
    ("confident.llm.input_token_count", "confident.llm.cost_per_input_token"),
    ("confident.llm.output_token_count", "confident.llm.cost_per_output_token"),
)


def _cost(get: Callable[[str], AttributeValue]) -> AttributeValue:
    """Of the tokens and the prices of one that stand beside them, where both sides are told."""
    told = [(get(tokens), get(price)) for tokens, price in _SIDES]
    if not all(isinstance(value, (int, float)) for side in told for value in side):
        return None
    return sum(tokens * price for tokens, price in told)


CONVENTION = Convention(
    id="deepeval",
    priority=65,
    keys=("confident.span.type", "confident.llm.model", "confident.trace.thread_id"),
    scopes=(r"^deepeval\b",),
    kinds=(
        KindByValue(
            "confident.span.type",
            {
                "llm": Kind.LLM,
                "agent": Kind.AGENT,
                "tool": Kind.TOOL,
                "retriever": Kind.RETRIEVER,
                "custom": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": ["confident.agent.name"],
        "session_id": ["confident.trace.thread_id"],
        "user_id": ["confident.trace.user_id"],
        "tags": ["confident.trace.tags"],
        "metadata": ["confident.span.metadata", "confident.trace.metadata"],
        "provider": ["confident.span.provider"],
        "request_model": ["confident.llm.model"],
        "input_tokens": ["confident.llm.input_token_count"],
        "output_tokens": ["confident.llm.output_token_count"],
        "cost_usd": [Computed(_cost, tuple(key for side in _SIDES for key in side))],
        "prompt_name": ["confident.span.prompt_alias"],
        "prompt_version": ["confident.span.prompt_version"],
        "tool": ["confident.tool.name", "confident.span.name"],
        "arguments": ["confident.span.input"],
        "result": ["confident.span.output"],
        "documents": ["confident.span.retrieval_context"],
        "input": ["confident.span.input", "confident.trace.input"],
        "output": ["confident.span.output", "confident.trace.output"],
    },
)
