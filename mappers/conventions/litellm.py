"""LiteLLM's OpenTelemetry callback: GenAI keys, with the details of usage in a Python literal beside them."""

from mappers.conventions.base import Below, Convention, KindByName, KindByValue
from mappers.model import Kind
from mappers.usage_object import from_usage

_USAGE = "metadata.usage_object"

CONVENTION = Convention(
    id="litellm",
    priority=95,
    keys=("litellm.call_id",),
    scopes=(r"^litellm@",),
    kinds=(
        # The request once more, as it went over the wire.
        KindByName(Kind.OTHER, r"raw_gen_ai_request$"),
        KindByValue(
            "gen_ai.operation.name",
            {"aembedding": Kind.EMBEDDING, "embedding": Kind.EMBEDDING, "acompletion": Kind.LLM},
        ),
    ),
    fields={
        "user_id": ["metadata.user_api_key_end_user_id", "llm.user", "gen_ai.user"],
        "metadata": [Below("metadata")],
        "cache_read_tokens": [from_usage(_USAGE, "cache_read_tokens")],
        "cache_write_tokens": [from_usage(_USAGE, "cache_write_tokens")],
        "cache_write_1h_tokens": [from_usage(_USAGE, "cache_write_1h_tokens")],
        "reasoning_tokens": [from_usage(_USAGE, "reasoning_tokens")],
        "audio_input_tokens": [from_usage(_USAGE, "audio_input_tokens")],
        "audio_output_tokens": [from_usage(_USAGE, "audio_output_tokens")],
        "web_searches": [from_usage(_USAGE, "web_searches")],
        "input_tokens": [from_usage(_USAGE, "input_tokens")],
        "output_tokens": [from_usage(_USAGE, "output_tokens")],
    },
)
