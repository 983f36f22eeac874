"""Logfire's integrations of OpenAI and Anthropic: whole requests and responses, usage objects, GenAI keys.

Older versions have `request_data` and `response_data` alone. A stream is told twice: the request as a span,
its end as a zero-length one with `logfire.span_type = log`, which alone has the answer.
"""

from mappers.conventions.base import Convention, Json, KindByKeys, KindByName, Quirk
from mappers.model import Kind
from mappers.usage_object import from_usage, searches_told_in

_REQUEST, _RESPONSE, _RAW = "request_data", "response_data", "gen_ai.usage.raw"

CONVENTION = Convention(
    id="logfire",
    priority=80,
    keys=("logfire.msg", "logfire.msg_template"),
    scopes=(r"^logfire\.(openai|anthropic|litellm|google_genai)@",),
    kinds=(
        KindByName(Kind.EMBEDDING, r"Embedding Creation\b"),
        KindByName(Kind.OTHER, r"Image Generation\b"),
        KindByKeys(Kind.LLM, (_REQUEST,), order=160),
    ),
    fields={
        "request_model": [Json(_REQUEST, "model")],
        "response_model": [Json(_RESPONSE, "model")],
        "response_id": [Json(_RESPONSE, "id")],
        "streaming": [Json(_REQUEST, "stream")],
        "input_tokens": [
            "gen_ai.usage.input_tokens",
            from_usage(_RAW, "input_tokens"),
            Json(_RESPONSE, "usage", "prompt_tokens"),
            Json(_RESPONSE, "usage", "input_tokens"),
        ],
        "output_tokens": [
            "gen_ai.usage.output_tokens",
            from_usage(_RAW, "output_tokens"),
            Json(_RESPONSE, "usage", "completion_tokens"),
            Json(_RESPONSE, "usage", "output_tokens"),
        ],
        "cache_read_tokens": [
            "gen_ai.usage.cache_read.input_tokens",
            from_usage(_RAW, "cache_read_tokens"),
            Json(_RESPONSE, "usage", "prompt_tokens_details", "cached_tokens"),
            Json(_RESPONSE, "usage", "cache_read_input_tokens"),
        ],
        "cache_write_tokens": [
            "gen_ai.usage.cache_creation.input_tokens",
            from_usage(_RAW, "cache_write_tokens"),
            Json(_RESPONSE, "usage", "cache_creation_input_tokens"),
        ],
        "cache_write_1h_tokens": [
            from_usage(_RAW, "cache_write_1h_tokens"),
            Json(_RESPONSE, "usage", "cache_creation", "ephemeral_1h_input_tokens"),
        ],
        "web_searches": [from_usage(_RAW, "web_searches"), searches_told_in(_RESPONSE)],
        "service_tier": [
            Json(_RAW, "service_tier"),
            Json(_RESPONSE, "service_tier"),
            Json(_RESPONSE, "usage", "service_tier"),
        ],
        "reasoning_tokens": [
            from_usage(_RAW, "reasoning_tokens"),
            Json(_RESPONSE, "usage", "completion_tokens_details", "reasoning_tokens"),
        ],
        "tool": ["gen_ai.tool.name"],
        "input": ["gen_ai.input.messages", _REQUEST],
        "output": [
            "gen_ai.output.messages",
            Json(_RESPONSE, "message"),
            Json(_RESPONSE, "combined_chunk_content"),
            _RESPONSE,
        ],
    },
    quirks=(
        # Before it told the cache itself, Anthropic's input was passed on as it is.
        Quirk(
            scope=r"^logfire\.anthropic@",
            lacks="gen_ai.usage.cache_read.input_tokens",
            when=Kind.LLM,
            input_excludes_cache=True,
        ),
    ),
)
