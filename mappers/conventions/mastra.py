"""Mastra's exporter: GenAI keys on calls, `mastra.*` on what is around them.

A generation (`model_generation`) is the call itself in versions before 1.4; since then it is around a step for each
call, and the call within the step is a `model_inference`.
"""

from mappers.conventions.base import Convention, KindByValue, TimeOffset
from mappers.model import Kind

CONVENTION = Convention(
    id="mastra",
    priority=87,
    keys=("mastra.span.type",),
    scopes=(r"^@mastra/",),
    kinds=(
        KindByValue(
            "mastra.span.type",
            {
                "model_inference": Kind.LLM,
                "rag_embedding": Kind.EMBEDDING,
                "tool_call": Kind.TOOL,
                "mcp_tool_call": Kind.TOOL,
                "provider_tool_call": Kind.TOOL,
                "agent_run": Kind.AGENT,
                "workflow_run": Kind.WORKFLOW,
                "workflow_step": Kind.WORKFLOW,
                "scorer_run": Kind.EVALUATOR,
                "model_step": Kind.OTHER,
                "model_chunk": Kind.OTHER,
                "llm_step": Kind.OTHER,
                "llm_chunk": Kind.OTHER,
            },
        ),
    ),
    fields={
        "session_id": ["mastra.metadata.sessionId"],
        "user_id": ["mastra.metadata.userId", "mastra.metadata.resourceId"],
        "tags": ["mastra.tags"],
        "ttft_ms": [TimeOffset("mastra.completion_start_time")],
        "cache_read_tokens": ["gen_ai.usage.cached_input_tokens"],
        "arguments": ["gen_ai.tool.input"],
        "result": ["gen_ai.tool.output"],
        "input": ["mastra.agent_run.input", "mastra.workflow_run.input", "mastra.workflow_step.input"],
        "output": ["mastra.agent_run.output", "mastra.workflow_run.output", "mastra.workflow_step.output"],
    },
)
