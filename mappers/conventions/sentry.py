"""Sentry's AI spans (its conventions, "gen_ai"): GenAI keys, with texts and tool calls of an answer by themselves."""

from mappers.conventions.base import Convention, KindByValue, Seconds
from mappers.model import Kind

CONVENTION = Convention(
    id="sentry",
    priority=109,
    keys=(
        "gen_ai.response.text",
        "gen_ai.response.tool_calls",
        "gen_ai.request.messages",
        "gen_ai.request.available_tools",
    ),
    kinds=(
        KindByValue(
            "sentry.op",
            {
                "gen_ai.chat": Kind.LLM,
                "gen_ai.generate_text": Kind.LLM,
                "gen_ai.generate_content": Kind.LLM,
                "gen_ai.responses": Kind.LLM,
                "gen_ai.embeddings": Kind.EMBEDDING,
                "gen_ai.execute_tool": Kind.TOOL,
                "gen_ai.invoke_agent": Kind.AGENT,
                "gen_ai.handoff": Kind.HANDOFF,
            },
            order=185,
        ),
    ),
    fields={
        "streaming": ["gen_ai.response.streaming"],
        "ttft_ms": [Seconds("gen_ai.response.time_to_first_token")],
        "cache_read_tokens": ["gen_ai.usage.input_tokens.cached"],
        "cache_write_tokens": ["gen_ai.usage.input_tokens.cache_write"],
        "reasoning_tokens": ["gen_ai.usage.output_tokens.reasoning"],
        "offered_tools": ["gen_ai.request.available_tools"],
        "arguments": ["gen_ai.tool.input"],
        "result": ["gen_ai.tool.output"],
        "input": ["gen_ai.request.messages"],
        "tool_requests": ["gen_ai.response.tool_calls"],
        "output": ["gen_ai.response.text", "gen_ai.response.tool_calls"],
    },
)
