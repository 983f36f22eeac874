"""Bare `llm.*` keys without a kind, as applications write that follow early conventions by hand."""

from mappers.conventions.base import Convention, KindByKeys
from mappers.model import Kind

_USED = ("llm.token_count.prompt", "llm.token_count.completion", "llm.input", "llm.output", "input.value")

CONVENTION = Convention(
    id="llm",
    priority=105,
    keys=("llm.model_name", "llm.input", "llm.output", "llm.session", "tool.name"),
    kinds=(
        KindByKeys(Kind.LLM, ("llm.model_name",), _USED, order=180),
        KindByKeys(Kind.TOOL, ("tool.name",), ("llm.input", "llm.output", "input.value"), order=185),
    ),
    fields={
        "session_id": ["llm.session"],
        "provider": ["llm.provider", "llm.system"],
        "response_model": ["llm.model_name"],
        "input_tokens": ["llm.token_count.prompt"],
        "output_tokens": ["llm.token_count.completion"],
        "total_tokens": ["llm.token_count.total"],
        "tool": ["tool.name"],
        "arguments": ["llm.input", "input.value"],
        "result": ["llm.output", "output.value"],
        "input": ["llm.input"],
        "output": ["llm.output"],
    },
)
