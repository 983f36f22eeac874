"""OpenInference (Arize): `openinference.span.kind` and the `llm.*`, `tool.*`, `input.*` keys beside it."""

from collections.abc import Callable
from typing import Any

from mappers.call_details import tools_in_turn, vector_length
from mappers.conventions.base import (
    Computed,
    Convention,
    EventOffset,
    Flat,
    Json,
    KindByValue,
    NameMatch,
    Quirk,
)
from mappers.messages.document import parse
from mappers.model import AttributeValue, Kind
from mappers.usage_object import searches_told_in


def _arguments(get: Callable[[str], AttributeValue]) -> Any:
    """`tool.parameters` are the arguments in some libraries and in others what arguments there may be: a JSON
    schema, or types by name."""
    value = get("tool.parameters")
    found = parse(value) if isinstance(value, str) else value
    if not isinstance(found, dict) or not found or "properties" in found or "$schema" in found:
        return None
    return None if all(map(_is_type, found.values())) else found


def _is_type(value: Any) -> bool:
    return value in _TYPES if isinstance(value, str) else isinstance(value, dict) and "type" in value


_TYPES = frozenset(
    {"str", "string", "int", "integer", "float", "number", "bool", "boolean", "dict", "list", "any"}
)


def _node(key: str) -> Computed:
    """The span's node in the graph of agents. Those of calls and tools are nodes of their own, and no agents."""

    def read(get: Callable[[str], AttributeValue]) -> AttributeValue:
        return None if get("openinference.span.kind") in ("LLM", "TOOL") else get(key)

    return Computed(read, (key,))


_MESSAGE = ("generations", 0, 0, "message", "kwargs")
"""Where LangChain's message lies in what it writes down of an answer."""


def _langchain_id(get: Callable[[str], AttributeValue]) -> AttributeValue:
    """LangChain for JavaScript names the message by the provider's response id; where there is none, and in Python,
    it is the id of LangChain's own run."""
    value = get("output.value")
    found = parse(value) if isinstance(value, str) else None
    try:
        for step in (*_MESSAGE, "id"):
            found = found[step]  # type: ignore[index]  # what is no such document raises, below
    except (TypeError, KeyError, IndexError):
        return None
    return found if isinstance(found, str) and not found.startswith(_OWN_IDS) else None


_OWN_IDS = ("run-", "lc_run-")


def _counted(*paths: tuple[str, ...]) -> list[Json]:
    """Where a provider's answer, passed on whole, has a count in its `usage`: packages of before 2025 tell no more of
    it than input and output, and of answers of OpenAI's Responses not even that."""
    return [Json("output.value", "usage", *path) for path in paths]


CONVENTION = Convention(
    id="openinference",
    priority=10,
    keys=("openinference.span.kind",),
    scopes=(r"^openinference\.instrumentation", r"^@arizeai/openinference"),
    kinds=(
        KindByValue(
            "openinference.span.kind",
            {
                "LLM": Kind.LLM,
                "EMBEDDING": Kind.EMBEDDING,
                "TOOL": Kind.TOOL,
                "AGENT": Kind.AGENT,
                "CHAIN": Kind.WORKFLOW,
                "RETRIEVER": Kind.RETRIEVER,
                "RERANKER": Kind.RERANKER,
                "GUARDRAIL": Kind.GUARDRAIL,
                "EVALUATOR": Kind.EVALUATOR,
                "PROMPT": Kind.OTHER,
                "DECISION": Kind.OTHER,
                "UNKNOWN": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": [
            "agent.name",
            "gen_ai.agent.name",
            _node("graph.node.name"),
            Json("metadata", "lc_agent_name"),
            _node("graph.node.id"),
        ],
        "session_id": ["session.id"],
        "user_id": ["user.id"],
        "tags": ["tag.tags"],
        "metadata": ["metadata"],
        # LangChain's package for JavaScript tells the provider in LangChain's own metadata only.
        "provider": ["llm.provider", "llm.system", Json("metadata", "ls_provider")],
        "response_model": [
            "llm.response.model_name",
            "llm.model_name",
            "embedding.model_name",
            "reranker.model_name",
            Json("output.value", "model"),
        ],
        "request_model": [
            "llm.request.model_name",
            Json("llm.invocation_parameters", "model", unless="response_model"),
            Json("input.value", "model", unless="response_model"),
        ],
        "response_id": [
            Json("output.value", "id"),
            # As the package for Gemini writes it.
            Json("output.value", "response_id"),
            Json("output.value", *_MESSAGE, "response_metadata", "id"),
            Computed(_langchain_id, ("output.value",)),
        ],
        "finish_reasons": [
            "llm.finish_reason",
            "llm.output_messages.0.message.finish_reason",
            Json("output.value", "choices", 0, "finish_reason"),
            Json("output.value", "finish_reason"),
            Json("output.value", "stop_reason"),
            Json("output.value", "generations", 0, 0, "generation_info", "finish_reason"),
        ],
        "streaming": [Json("llm.invocation_parameters", "stream")],
        "ttft_ms": [EventOffset("First Token Stream Event")],
        "input_tokens": ["llm.token_count.prompt", *_counted(("prompt_tokens",), ("input_tokens",))],
        "output_tokens": [
            "llm.token_count.completion",
            *_counted(("completion_tokens",), ("output_tokens",)),
        ],
        "total_tokens": ["llm.token_count.total"],
        "cache_read_tokens": [
            "llm.token_count.prompt_details.cache_read",
            "metadata.usage.cached_prompt_tokens",
            Json("output.value", *_MESSAGE, "usage_metadata", "input_token_details", "cache_read"),
            *_counted(
                ("prompt_tokens_details", "cached_tokens"),
                ("input_tokens_details", "cached_tokens"),
                ("cache_read_input_tokens",),
            ),
        ],
        "cache_write_tokens": [
            "llm.token_count.prompt_details.cache_write",
            "metadata.usage.cached_creation_tokens",
            *_counted(("cache_creation_input_tokens",)),
        ],
        "reasoning_tokens": [
            "llm.token_count.completion_details.reasoning",
            Json("output.value", *_MESSAGE, "usage_metadata", "output_token_details", "reasoning"),
            *_counted(
                ("completion_tokens_details", "reasoning_tokens"),
                ("output_tokens_details", "reasoning_tokens"),
            ),
        ],
        "audio_input_tokens": ["llm.token_count.prompt_details.audio"],
        "audio_output_tokens": ["llm.token_count.completion_details.audio"],
        "cache_write_1h_tokens": [
            Json("output.value", "usage", "cache_creation", "ephemeral_1h_input_tokens")
        ],
        "web_searches": [searches_told_in("output.value")],
        "service_tier": [
            Json("output.value", "service_tier"),
            Json("output.value", "usage", "service_tier"),
            Json("output.value", *_MESSAGE, "response_metadata", "service_tier"),
        ],
        "cost_usd": ["llm.cost.total"],
        "parameters": ["llm.invocation_parameters"],
        "offered_tools": [tools_in_turn("llm.tools.{}.tool.json_schema", "llm.tools.{}.tool.name")],
        "prompt_name": ["llm.prompt_template.name"],
        "prompt_version": ["llm.prompt_template.version"],
        "documents": [Flat("reranker.output_documents"), Flat("retrieval.documents")],
        "embedding_dimensions": [vector_length("embedding.embeddings.0.embedding.vector")],
        "tool": ["tool.name", NameMatch(r"(.+)")],
        "tool_call_id": ["tool.id", "tool_call.id", "tool.call_id"],
        "handoff_to": [NameMatch(r"handoff to (.+)")],
        "arguments": ["input.value", Computed(_arguments, ("tool.parameters",))],
        "result": ["output.value"],
        "input_messages": [Flat("llm.input_messages")],
        "input": ["input.value"],
        "output_messages": [Flat("llm.output_messages")],
        "output": ["output.value"],
    },
    quirks=(
        # The LlamaIndex package marks the preparation of a request as a call.
        Quirk(scope=r"llama_index@", name=r"\._prepare", when=Kind.LLM, kind=Kind.OTHER),
        # The LangChain package calls everything an agent whose name contains "agent".
        Quirk(scope=r"langchain@", has="tool.name", when=Kind.AGENT, kind=Kind.TOOL),
        Quirk(scope=r"langchain@", name=r"^(route_to_|(call_)?agent$)", when=Kind.AGENT, kind=Kind.WORKFLOW),
        # The OpenAI Agents package wraps each trace in an agent that has no name.
        Quirk(scope=r"openai[_-]agents@", lacks="agent.name", when=Kind.AGENT, kind=Kind.WORKFLOW),
        Quirk(scope=r"openai[_-]agents@", name=r"^handoff to ", when=Kind.TOOL, kind=Kind.HANDOFF),
        # BeeAI's steps without a name are no agents.
        Quirk(scope=r"beeai@", lacks="agent.name", when=Kind.AGENT, kind=Kind.WORKFLOW),
        Quirk(scope=r"vertexai@", output_excludes_reasoning=True),
        # Up to then it passed on what Anthropic calls input, which is what the cache did not have.
        Quirk(
            scope=r"^openinference\.instrumentation\.anthropic@0\.1\.(\d|1[0-3])$", input_excludes_cache=True
        ),
        # Bedrock counts the cache apart, which the package for Python adds and that for JavaScript does not.
        Quirk(scope=r"^@arizeai/openinference-instrumentation-bedrock@", input_excludes_cache=True),
        Quirk(scope=r"google_adk@", name=r"^invoke_agent ", when=Kind.LLM, kind=Kind.AGENT),
        Quirk(scope=r"google_adk@", name=r"\(merged\b", when=Kind.TOOL, kind=Kind.OTHER),
    ),
)
