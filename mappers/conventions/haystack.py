"""Haystack's own tracing: the class of a component says what it is; content is a JSON document an attribute.

Content, and with it model and usage, comes only if `HAYSTACK_CONTENT_TRACING_ENABLED` is set.
"""

from collections.abc import Callable

from mappers.conventions.base import Computed, Convention, Json, KindByName, KindByPattern, Quirk, Source
from mappers.messages.document import member, parse
from mappers.model import AttributeValue, Kind

_OUTPUTS = ("haystack.agent.step.llm.output", "haystack.component.output")


_INVOKED = ("tool_messages", 0, "content", 0, "tool_call_result")
"""Before 2.20 the component that runs tools is all that tells of them: the first that it ran stands for all."""


def _invoker_failed(get: Callable[[str], AttributeValue]) -> str | None:
    output = get("haystack.component.output")
    told = member(parse(output), (*_INVOKED, "error")) if isinstance(output, str) else None
    return "error" if told is True else None


def _meta(*path: str) -> list[Source]:
    """Where replies keep what their provider said: a chat message has it inside, a text beside it, embedders
    have one for all."""
    return [
        Json(key, *above, *path)
        for key in _OUTPUTS
        for above in (("replies", 0, "meta"), ("meta", 0), ("meta",))
    ]


CONVENTION = Convention(
    id="haystack",
    priority=81,
    keys=("haystack.component.type", "haystack.tool.name"),
    scopes=(r"^haystack@",),
    kinds=(
        KindByPattern(Kind.LLM, "haystack.component.type", r"Generator$"),
        KindByPattern(Kind.EMBEDDING, "haystack.component.type", r"Embedder$"),
        KindByPattern(Kind.RETRIEVER, "haystack.component.type", r"Retriever$"),
        KindByPattern(Kind.RERANKER, "haystack.component.type", r"Ranker$"),
        KindByPattern(Kind.TOOL, "haystack.component.type", r"ToolInvoker$"),
        KindByPattern(Kind.WORKFLOW, "haystack.component.type", ""),
        KindByName(Kind.LLM, r"haystack\.(agent\.step\.llm|chat_generator\.run)$"),
        KindByName(Kind.TOOL, r"haystack\.agent\.step\.tool$"),
        KindByName(Kind.AGENT, r"haystack\.agent\.run$"),
        KindByName(Kind.WORKFLOW, r"haystack\.(async_)?pipeline\.run$"),
    ),
    fields={
        "outcome": [Computed(_invoker_failed, ("haystack.component.output",))],
        "error_message": ["haystack.tool.error"],
        "response_model": _meta("model"),
        "response_id": _meta("id"),
        "finish_reasons": _meta("finish_reason"),
        "input_tokens": _meta("usage", "prompt_tokens") + _meta("usage", "input_tokens"),
        "output_tokens": _meta("usage", "completion_tokens") + _meta("usage", "output_tokens"),
        "total_tokens": _meta("usage", "total_tokens"),
        "cache_read_tokens": _meta("usage", "prompt_tokens_details", "cached_tokens")
        + _meta("usage", "cache_read_input_tokens"),
        "cache_write_tokens": _meta("usage", "cache_creation_input_tokens"),
        "reasoning_tokens": _meta("usage", "completion_tokens_details", "reasoning_tokens"),
        "tool": ["haystack.tool.name", Json(_OUTPUTS[1], *_INVOKED, "origin", "tool_name")],
        "tool_call_id": ["haystack.tool.call.id", Json(_OUTPUTS[1], *_INVOKED, "origin", "id")],
        "arguments": [
            "haystack.agent.step.tool.input",
            Json(_OUTPUTS[1], *_INVOKED, "origin", "arguments"),
        ],
        "result": ["haystack.agent.step.tool.output", Json(_OUTPUTS[1], *_INVOKED, "result")],
        "input": [
            "haystack.agent.step.llm.input",
            "haystack.component.input",
            "haystack.agent.input",
            "haystack.pipeline.input_data",
        ],
        "output": [
            *_OUTPUTS,
            "haystack.agent.output",
            "haystack.pipeline.output_data",
        ],
    },
    quirks=(Quirk(scope=r"^haystack@", name=r"^haystack\.tracing\.auto_enable$", setup=True),),
)
