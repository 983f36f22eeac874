"""LlamaIndex's own OpenTelemetry spans: named after a method, all they know stands in their span events.

Streams end before their answer does, so that theirs is not told.
"""

import re
from collections.abc import Callable

from mappers.conventions.base import Computed, Convention, EventAttribute, KindByEvent, KindByName, Source
from mappers.model import AttributeValue, Kind

_STARTS = ("LLMChatStartEvent", "LLMCompletionStartEvent")
_ENDS = ("LLMChatEndEvent", "LLMCompletionEndEvent")
_USAGE = "response.raw.usage"

_STEP = "llamaindex.step.input_summary"
_CALL = re.compile(
    r"ToolCall\(tool_name='(?P<tool>[^']+)', tool_kwargs=(?P<arguments>\{.*\}), tool_id='(?P<id>[^']*)'"
)
_AGENT = re.compile(r"current_agent_name='([^']+)'")


def _agent(get: Callable[[str], AttributeValue]) -> str | None:
    """The agent whose turn a step is."""
    found = _AGENT.search(str(get(_STEP)))
    return found[1] if found else None


def _of_starts(key: str) -> list[Source]:
    return [EventAttribute(event, key) for event in _STARTS]


def _of_ends(*keys: str) -> list[Source]:
    return [EventAttribute(event, key) for key in keys for event in _ENDS]


def _of_call(part: str) -> Computed:
    """A part of the tool call that a workflow's step was given, which is told as Python writes it."""

    def read(get: Callable[[str], AttributeValue]) -> str | None:
        found = _CALL.match(str(get(_STEP)))
        return found[part] if found else None

    return Computed(read, (_STEP,))


CONVENTION = Convention(
    id="llama_index",
    priority=82,
    scopes=(r"^llamaindex\.opentelemetry\.tracer@",),
    kinds=(
        KindByEvent(Kind.LLM, _STARTS),
        KindByEvent(Kind.EMBEDDING, ("EmbeddingStartEvent", "SparseEmbeddingStartEvent")),
        KindByEvent(Kind.RETRIEVER, ("RetrievalStartEvent",)),
        KindByEvent(Kind.RERANKER, ("ReRankStartEvent",)),
        KindByName(Kind.TOOL, r"\w*Tool\.a?call$"),
        KindByName(Kind.AGENT, r"\w*Agent\.run$"),
        KindByName(Kind.WORKFLOW, r"\w+\.run$"),
    ),
    fields={
        "agent": [Computed(_agent, (_STEP,))],
        "request_model": [
            *_of_starts("model_dict.model_name"),
            *_of_starts("model_dict.model"),
            EventAttribute("EmbeddingStartEvent", "model_dict.model_name"),
        ],
        "response_model": _of_ends("response.raw.model"),
        "finish_reasons": [
            EventAttribute(event, "response.raw.choices", 0, "finish_reason") for event in _ENDS
        ],
        "response_id": _of_ends("response.raw.id"),
        "input_tokens": _of_ends(f"{_USAGE}.prompt_tokens", f"{_USAGE}.input_tokens"),
        "output_tokens": _of_ends(f"{_USAGE}.completion_tokens", f"{_USAGE}.output_tokens"),
        "total_tokens": _of_ends(f"{_USAGE}.total_tokens"),
        "cache_read_tokens": _of_ends(
            f"{_USAGE}.prompt_tokens_details.cached_tokens",
            f"{_USAGE}.input_tokens_details.cached_tokens",
            f"{_USAGE}.cache_read_input_tokens",
        ),
        "cache_write_tokens": _of_ends(f"{_USAGE}.cache_creation_input_tokens"),
        "reasoning_tokens": _of_ends(
            f"{_USAGE}.completion_tokens_details.reasoning_tokens",
            f"{_USAGE}.output_tokens_details.reasoning_tokens",
        ),
        "tool": [_of_call("tool")],
        "tool_call_id": [_of_call("id")],
        "arguments": [_of_call("arguments")],
        "input": [*_of_starts("messages"), *_of_starts("prompt")],
        "output": _of_ends("response.message.blocks", "response.message.content", "response.text"),
    },
)
