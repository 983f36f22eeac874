"""LangSmith's OpenTelemetry export: `langsmith.*`, the whole request and response as JSON, GenAI keys beside."""

from mappers.conventions.base import Below, Convention, Json, KindByValue, NameMatch
from mappers.model import Kind
from mappers.usage_object import from_usage, searches_told_in

_ANSWER = ("gen_ai.completion", "generations", 0, 0)
"""Where LangChain's dump of an answer begins."""
_USAGE = "langsmith.metadata.usage_metadata"

CONVENTION = Convention(
    id="langsmith",
    priority=60,
    keys=("langsmith.span.kind", "langsmith.trace.session_name"),
    scopes=(r"^langsmith@",),
    kinds=(
        KindByValue(
            "langsmith.span.kind",
            {
                "llm": Kind.LLM,
                "tool": Kind.TOOL,
                "chain": Kind.WORKFLOW,
                "retriever": Kind.RETRIEVER,
                "embedding": Kind.EMBEDDING,
                "prompt": Kind.OTHER,
                "parser": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": ["langsmith.metadata.lc_agent_name"],
        "session_id": [
            "langsmith.metadata.session_id",
            "langsmith.metadata.thread_id",
            "langsmith.metadata.conversation_id",
            "langsmith.trace.session_id",
        ],
        "user_id": ["langsmith.metadata.user_id"],
        "tags": ["langsmith.span.tags"],
        "metadata": [Below("langsmith.metadata")],
        "provider": ["langsmith.metadata.ls_provider"],
        "response_model": [Json("gen_ai.completion", "model")],
        "request_model": ["langsmith.metadata.ls_model_name"],
        "response_id": [
            Json("gen_ai.completion", "id"),
            Json(*_ANSWER, "message", "kwargs", "response_metadata", "id"),
        ],
        "finish_reasons": [Json(*_ANSWER, "generation_info", "finish_reason")],
        "streaming": ["langsmith.request.streaming"],
        "cache_read_tokens": [
            from_usage(_USAGE, "cache_read_tokens"),
            Json("gen_ai.usage.input_token_details", "cache_read"),
        ],
        "cache_write_tokens": [
            from_usage(_USAGE, "cache_write_tokens"),
            Json("gen_ai.usage.input_token_details", "cache_creation"),
        ],
        "cache_write_1h_tokens": [from_usage(_USAGE, "cache_write_1h_tokens")],
        "web_searches": [searches_told_in("gen_ai.completion")],
        "service_tier": [
            Json("gen_ai.completion", "service_tier"),
            Json(*_ANSWER, "message", "kwargs", "response_metadata", "service_tier"),
        ],
        "reasoning_tokens": [
            from_usage(_USAGE, "reasoning_tokens"),
            Json("gen_ai.usage.output_token_details", "reasoning"),
        ],
        "input_tokens": ["gen_ai.usage.input_tokens", from_usage(_USAGE, "input_tokens")],
        "output_tokens": ["gen_ai.usage.output_tokens", from_usage(_USAGE, "output_tokens")],
        "tool": ["gen_ai.tool.name", NameMatch(r"(.+)")],
        "arguments": ["gen_ai.prompt"],
        "result": ["gen_ai.completion"],
        "input": ["gen_ai.prompt"],
        "output": ["gen_ai.completion"],
    },
)
