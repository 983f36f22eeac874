"""Pydantic AI: up to 1.0 its agents and tools are told by their names, the messages as one JSON list of events.

An agent's span repeats the sums of its calls (`gen_ai.usage.*`, later `gen_ai.aggregated_usage.*`).
"""

from mappers.conventions.base import Convention, Json, KindByName
from mappers.model import Kind

CONVENTION = Convention(
    id="pydantic_ai",
    priority=84,
    scopes=(r"^pydantic-ai@",),
    kinds=(
        KindByName(Kind.AGENT, r"agent run$"),
        KindByName(Kind.TOOL, r"running (tool|output function)$"),
        KindByName(Kind.OTHER, r"running (\d+ )?tools?$"),
    ),
    fields={
        "agent": ["gen_ai.agent.name", "agent_name"],
        "request_model": ["gen_ai.request.model", "model_name"],
        # Before 1.0; the keys since then are the GenAI ones.
        "cache_read_tokens": ["gen_ai.usage.details.cached_tokens"],
        "arguments": ["gen_ai.tool.call.arguments", "tool_arguments"],
        "result": ["gen_ai.tool.call.result", "tool_response"],
        "input": ["gen_ai.input.messages", "pydantic_ai.all_messages", "all_messages_events"],
        "output": ["gen_ai.output.messages", "final_result", Json("events", -1)],
    },
)
