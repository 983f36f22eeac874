"""Langfuse SDKs (v3 and later, Python and JavaScript): `langfuse.observation.*`, one JSON document an attribute."""

from mappers.conventions.base import Below, Convention, Json, KindByValue, NameMatch, Quirk, TimeOffset
from mappers.model import Kind
from mappers.usage_object import from_usage

_USAGE = "langfuse.observation.usage_details"
_STEP = "langfuse.observation.metadata.langgraph_step"

CONVENTION = Convention(
    id="langfuse",
    priority=20,
    keys=("langfuse.observation.type",),
    scopes=(r"^langfuse-sdk@",),
    kinds=(
        KindByValue(
            "langfuse.observation.type",
            {
                "generation": Kind.LLM,
                "embedding": Kind.EMBEDDING,
                "tool": Kind.TOOL,
                "agent": Kind.AGENT,
                "chain": Kind.WORKFLOW,
                "retriever": Kind.RETRIEVER,
                "guardrail": Kind.GUARDRAIL,
                "evaluator": Kind.EVALUATOR,
                "span": Kind.OTHER,
                "event": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": [Json("langfuse.observation.metadata.lc_agent_name")],
        "session_id": ["session.id", "langfuse.session.id"],
        "user_id": ["user.id", "langfuse.user.id"],
        "tags": ["langfuse.trace.tags"],
        "metadata": [Below("langfuse.trace.metadata"), Below("langfuse.observation.metadata")],
        # The level tells failures: JavaScript and v3 leave the span's own status unset.
        "outcome": ["langfuse.observation.level"],
        "error_message": ["langfuse.observation.status_message"],
        "provider": [Json("langfuse.observation.metadata.ls_provider")],
        "response_model": ["langfuse.observation.model.name"],
        "request_model": [Json("langfuse.observation.metadata.ls_model_name")],
        "finish_reasons": [Json("langfuse.observation.metadata.finish_reason")],
        "ttft_ms": [TimeOffset("langfuse.observation.completion_start_time")],
        "input_tokens": [from_usage(_USAGE, "input_tokens")],
        "output_tokens": [from_usage(_USAGE, "output_tokens")],
        "total_tokens": [from_usage(_USAGE, "total_tokens")],
        "cache_read_tokens": [from_usage(_USAGE, "cache_read_tokens")],
        "cache_write_tokens": [from_usage(_USAGE, "cache_write_tokens")],
        "cache_write_1h_tokens": [from_usage(_USAGE, "cache_write_1h_tokens")],
        "reasoning_tokens": [from_usage(_USAGE, "reasoning_tokens")],
        "audio_input_tokens": [from_usage(_USAGE, "audio_input_tokens")],
        "audio_output_tokens": [from_usage(_USAGE, "audio_output_tokens")],
        "service_tier": [Json("langfuse.observation.model.parameters", "service_tier")],
        "cost_usd": [Json("langfuse.observation.cost_details", "total")],
        "parameters": ["langfuse.observation.model.parameters"],
        "prompt_name": ["langfuse.observation.prompt.name"],
        "prompt_version": ["langfuse.observation.prompt.version"],
        "documents": ["langfuse.observation.output"],
        "tool": [NameMatch(r"(.+)")],
        "arguments": ["langfuse.observation.input"],
        "result": ["langfuse.observation.output"],
        "input": ["langfuse.observation.input"],
        "output": ["langfuse.observation.output"],
    },
    quirks=(
        # The LangChain callback calls everything an agent whose name contains "agent".
        Quirk(name=r"^(route_to_|(call_)?agent$)", has=_STEP, when=Kind.AGENT, kind=Kind.WORKFLOW),
    ),
)
