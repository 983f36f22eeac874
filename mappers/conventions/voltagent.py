"""VoltAgent: `span.type` and `entity.*`, model calls with `llm.*`; agents repeat the sums as `usage.*`."""

from mappers.conventions.base import Convention, Json, KindByValue, NameMatch, Quirk
from mappers.model import Kind

CONVENTION = Convention(
    id="voltagent",
    priority=78,
    keys=("entity.type",),
    scopes=(r"^@?voltagent\b",),
    kinds=(
        KindByValue(
            "span.type",
            {
                "llm": Kind.LLM,
                "embedding": Kind.EMBEDDING,
                "tool": Kind.TOOL,
                "agent": Kind.AGENT,
                "workflow": Kind.WORKFLOW,
                "workflow-step": Kind.WORKFLOW,
                "retriever": Kind.RETRIEVER,
                "guardrail": Kind.GUARDRAIL,
                "scorer": Kind.EVALUATOR,
                "memory": Kind.OTHER,
                "summary": Kind.OTHER,
                "middleware": Kind.OTHER,
            },
        ),
        KindByValue("entity.type", {"agent": Kind.AGENT, "workflow": Kind.WORKFLOW}, order=79),
    ),
    fields={
        # The span of an agent that was called for help carries the name of the one that called it.
        "agent": [NameMatch(r"subagent:(.+)"), "entity.name"],
        "session_id": ["conversation.id"],
        "user_id": ["user.id", "userId"],
        "provider": ["llm.provider", "ai.model.provider"],
        "request_model": ["llm.model", "ai.model.name"],
        "streaming": ["llm.stream"],
        "finish_reasons": ["llm.finish_reason", "ai.response.finish_reason"],
        "input_tokens": ["llm.usage.prompt_tokens"],
        "output_tokens": ["llm.usage.completion_tokens"],
        "total_tokens": ["llm.usage.total_tokens"],
        "cache_read_tokens": ["llm.usage.cached_tokens"],
        "reasoning_tokens": ["llm.usage.reasoning_tokens"],
        "tool": ["tool.name"],
        "tool_call_id": ["tool.call.id"],
        "handoff_to": [Json("input", "targetAgents", 0)],
        "arguments": ["input"],
        "result": ["output"],
        "input": ["llm.messages", "input"],
        "output": ["output"],
    },
    quirks=(
        Quirk(scope=r"voltagent", name=r"^tool\.execution:delegate_task$", when=Kind.TOOL, kind=Kind.HANDOFF),
    ),
)
