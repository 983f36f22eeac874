"""OpenAI's Agents SDK as Logfire tells it: what each of its spans exports, as attributes without a prefix."""

from mappers.conventions.base import Computed, Convention, Json, KindByName
from mappers.model import Kind
from mappers.usage_object import from_usage

CONVENTION = Convention(
    id="openai_agents",
    priority=74,  # before Logfire's others: spans of this scope carry its keys, too
    scopes=(r"^logfire\.openai_agents@",),
    kinds=(
        KindByName(Kind.WORKFLOW, r"OpenAI Agents trace: "),
        KindByName(Kind.WORKFLOW, r"Task: "),
        KindByName(Kind.OTHER, r"Turn \{turn\} for agent "),
        KindByName(Kind.AGENT, r"Agent run: "),
        KindByName(Kind.LLM, r"Chat completion with "),
        KindByName(Kind.LLM, r"Responses API\b"),
        KindByName(Kind.TOOL, r"Function: "),
        KindByName(Kind.HANDOFF, r"Handoff: "),
        KindByName(Kind.GUARDRAIL, r"Guardrail "),
        # Speech in and out, tools that a server offers, spans of a program's own.
        KindByName(Kind.OTHER, r""),
    ),
    fields={
        # Every span has a name; that of an agent stands beside what it may hand over to.
        "agent": [
            "agent_name",
            "from_agent",
            Computed(lambda get: get("name") if get("handoffs") else None, ("handoffs",)),
        ],
        # Logfire writes nothing as JSON.
        "conversation_id": [
            Computed(lambda get: group if (group := get("group_id")) != "null" else None, ("group_id",))
        ],
        "error_message": [Json("error", "data", "error"), Json("error", "message")],
        "response_model": ["gen_ai.response.model"],
        "reasoning_tokens": [from_usage("usage", "reasoning_tokens")],
        "cache_read_tokens": [from_usage("usage", "cache_read_tokens")],
        "cache_write_tokens": [Json("usage", "input_tokens_details", "cache_write_tokens")],
        "tool": ["name", "logfire.msg"],
        "arguments": ["input"],
        "result": ["output"],
        "handoff_to": ["to_agent"],
        "parameters": ["model_config", "model_settings"],
        "offered_tools": [Json("response", "tools")],
        "input": ["raw_input", "input"],
        "output": [Json("response", "output"), "output"],
    },
)
