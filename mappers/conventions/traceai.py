"""Future AGI's traceAI: OpenInference's design under GenAI names, up to 2025 with `fi.span.kind` under its own.

Its decorators make spans in the program's own scope, of which only `gen_ai.span.kind` tells what they are: the
GenAI convention reads these.
"""

from mappers.conventions.base import Convention, Flat, Json, KindByValue
from mappers.conventions.gen_ai import SPAN_KINDS

CONVENTION = Convention(
    id="traceai",
    priority=15,
    keys=("fi.span.kind",),
    scopes=(r"^traceai_", r"^fi_instrumentation"),
    kinds=(KindByValue("fi.span.kind", SPAN_KINDS), KindByValue("gen_ai.span.kind", SPAN_KINDS)),
    fields={
        "agent": ["gen_ai.agent.name", "agent.name"],
        "session_id": ["session.id"],
        "user_id": ["user.id"],
        "tags": ["tag.tags"],
        "metadata": ["metadata"],
        "error_message": ["error.message"],
        "request_model": [
            "gen_ai.request.model",
            "llm.model_name",
            "embedding.model_name",
            # All that is told of a stream.
            Json("gen_ai.request.parameters", "model"),
            Json("llm.invocation_parameters", "model"),
        ],
        "provider": ["gen_ai.provider.name", "llm.provider", "llm.system"],
        "input_tokens": ["gen_ai.usage.input_tokens", "llm.token_count.prompt"],
        "output_tokens": ["gen_ai.usage.output_tokens", "llm.token_count.completion"],
        "total_tokens": ["gen_ai.usage.total_tokens", "llm.token_count.total"],
        "cache_read_tokens": [
            "gen_ai.usage.cache_read_tokens",
            "gen_ai.usage.input_tokens.cache_read",
            "llm.token_count.prompt_details.cache_read",
        ],
        "cache_write_tokens": [
            "gen_ai.usage.cache_write_tokens",
            "gen_ai.usage.input_tokens.cache_write",
            "llm.token_count.prompt_details.cache_write",
        ],
        "reasoning_tokens": [
            "gen_ai.usage.output_tokens.reasoning",
            "llm.token_count.completion_details.reasoning",
        ],
        "audio_input_tokens": ["gen_ai.usage.input_tokens.audio"],
        "audio_output_tokens": ["gen_ai.usage.output_tokens.audio"],
        "cost_usd": ["gen_ai.cost.total"],
        "parameters": ["gen_ai.request.parameters", "llm.invocation_parameters"],
        "prompt_name": ["gen_ai.prompt.template.name"],
        "prompt_version": ["gen_ai.prompt.template.version"],
        "tool": ["gen_ai.tool.name", "tool.name"],
        "arguments": ["gen_ai.tool.call.arguments", "input.value"],
        "result": ["gen_ai.tool.call.result", "output.value"],
        "input_messages": [Flat("gen_ai.input.messages"), Flat("llm.input_messages")],
        "output_messages": [Flat("gen_ai.output.messages"), Flat("llm.output_messages")],
        "input": ["gen_ai.input.messages", "input.value"],
        "output": ["gen_ai.output.messages", "output.value"],
    },
)
