"""AgentOps: `agentops.span.kind` on what its decorators wrap; the calls of its instrumentations have old GenAI keys.

Tools that an answer asks for are spans of their own below the call (`tool_call.ask`), which are no executions.
"""

from mappers.call_details import tools_in_turn
from mappers.conventions.base import Convention, KindByValue, Seconds
from mappers.model import Kind

_INPUTS = ("agentops.tool.input", "agentops.agent.input", "agentops.entity.input", "workflow.input")
_OUTPUTS = ("agentops.tool.output", "agentops.agent.output", "agentops.entity.output", "workflow.output")

CONVENTION = Convention(
    id="agentops",
    priority=66,
    keys=("agentops.span.kind", "gen_ai.request.streaming"),
    scopes=(r"^agentops\b",),
    kinds=(
        KindByValue(
            "agentops.span.kind",
            {
                "session": Kind.WORKFLOW,
                "workflow": Kind.WORKFLOW,
                "workflow.step": Kind.WORKFLOW,
                "task": Kind.WORKFLOW,
                "operation": Kind.WORKFLOW,
                "chain": Kind.WORKFLOW,
                "agent": Kind.AGENT,
                "tool": Kind.TOOL,
                "llm": Kind.LLM,
                "llm.call": Kind.LLM,
                "guardrail": Kind.GUARDRAIL,
                "http": Kind.OTHER,
                "text": Kind.OTHER,
                "unknown": Kind.OTHER,
                "agent.action": Kind.OTHER,
                "agent.thinking": Kind.OTHER,
                "agent.decision": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": ["agent.name"],
        "session_id": ["workflow.session_id"],
        "user_id": ["workflow.user_id"],
        "tags": ["agentops.tags"],
        "outcome": ["agentops.session.end_state"],
        "error_message": ["error.message"],
        "streaming": ["gen_ai.request.streaming"],
        "ttft_ms": [Seconds("gen_ai.streaming.time_to_first_token")],
        "cost_usd": ["gen_ai.usage.total_cost"],
        "offered_tools": [tools_in_turn("gen_ai.request.functions.{}.name")],
        "finish_reasons": ["gen_ai.response.finish_reason", "gen_ai.response.stop_reason"],
        "tool": ["tool.name", "operation.name"],
        "arguments": [*_INPUTS, "tool.parameters"],
        "result": [*_OUTPUTS, "tool.result"],
        "input": _INPUTS,
        "output": _OUTPUTS,
    },
)
