"""Monocle (Linux Foundation): `span.type` and numbered entities; content and usage in span events."""

from collections.abc import Callable

from mappers.conventions.base import Computed, Convention, EventAttribute, KindByValue
from mappers.model import AttributeValue, Kind

_PLACES = range(1, 5)
"""The entities of a span: what is called, by what, with what."""
_USAGE = "metadata"


def _entity(kind: str) -> Computed:
    """The name of the first entity whose type begins so: `model.llm.gpt-4o`, `agent.langgraph`, `tool.function`."""

    def read(get: Callable[[str], AttributeValue]) -> AttributeValue:
        types = ((place, get(f"entity.{place}.type")) for place in _PLACES)
        place = next((place for place, type_ in types if str(type_ or "").startswith(kind)), None)
        return get(f"entity.{place}.name") if place else None

    return Computed(read, tuple(f"entity.{place}.type" for place in _PLACES))


def _provider(get: Callable[[str], AttributeValue]) -> AttributeValue:
    """Of `inference.azure_openai`; the entity's own `provider_name` is a host."""
    service, _, named = str(get("entity.1.type")).partition(".")
    return _PROVIDERS.get(named, named) if service == "inference" else None


_PROVIDERS = {"azure_openai": "azure.ai.openai", "aws_bedrock": "aws.bedrock", "generic": None}

CONVENTION = Convention(
    id="monocle",
    priority=73,
    keys=("monocle_apptrace.version",),
    scopes=(r"^monocle_apptrace\b",),
    kinds=(
        KindByValue(
            "span.type",
            {
                "inference": Kind.LLM,
                # Of a framework; the client's own span lies within.
                "inference.framework": Kind.LLM,
                "inference.modelapi": Kind.LLM,
                "embedding": Kind.EMBEDDING,
                "embedding.modelapi": Kind.EMBEDDING,
                "retrieval": Kind.RETRIEVER,
                "agentic.turn": Kind.WORKFLOW,
                "agentic.request": Kind.WORKFLOW,
                "agentic.invocation": Kind.AGENT,
                "agentic.tool.invocation": Kind.TOOL,
                "agentic.mcp.invocation": Kind.TOOL,
                "agentic.delegation": Kind.HANDOFF,
                "workflow": Kind.WORKFLOW,
                "generic": Kind.OTHER,
                "http.process": Kind.OTHER,
                "http.send": Kind.OTHER,
            },
        ),
    ),
    fields={
        # Who called an agent stands beside its name.
        "agent": [_entity("agent."), "entity.1.from_agent"],
        "session_id": ["scope.agentic.session"],
        "provider": [Computed(_provider, ("entity.1.type",))],
        "request_model": [_entity("model.")],
        "finish_reasons": [EventAttribute(_USAGE, "finish_reason")],
        "input_tokens": [EventAttribute(_USAGE, "prompt_tokens")],
        "output_tokens": [EventAttribute(_USAGE, "completion_tokens")],
        "total_tokens": [EventAttribute(_USAGE, "total_tokens")],
        "cache_read_tokens": [EventAttribute(_USAGE, "cache_read_input_tokens")],
        "cache_write_tokens": [EventAttribute(_USAGE, "cache_creation_input_tokens")],
        "reasoning_tokens": [EventAttribute(_USAGE, "thoughts_tokens")],
        "tool": [_entity("tool.")],
        "handoff_to": ["entity.1.to_agent"],
        "arguments": [EventAttribute("data.input", "input")],
        "result": [EventAttribute("data.output", "response")],
        "input": [EventAttribute("data.input", "input")],
        "output": [EventAttribute("data.output", "response")],
    },
)
