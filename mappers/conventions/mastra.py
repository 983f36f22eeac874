"""Mastra's exporter: GenAI keys on calls, `mastra.*` on what is around them. Before it there were spans of the tracer
`mastra` with `aisdk.*` and `stream.*`; these are told here as its source has them, not as they were captured.

A generation (`model_generation`) is the call itself in versions before 1.4; since then it is around a step for each
call, and the call within the step is a `model_inference`.
"""

from mappers.conventions.base import Convention, KindByName, KindByValue, TimeOffset
from mappers.model import Kind

CONVENTION = Convention(
    id="mastra",
    priority=87,
    keys=("mastra.span.type", "aisdk.model.id", "stream.toolCall.toolName"),
    scopes=(r"^@mastra/", r"^mastra@"),
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
        KindByName(Kind.LLM, r"mastra\.stream\.aisdk\.do(Stream|Generate)$"),
        KindByName(Kind.TOOL, r"mastra\.stream\.toolCall$"),
        KindByName(Kind.WORKFLOW, r"mastra\.(stream|generate)$"),
    ),
    fields={
        "provider": ["aisdk.model.provider"],
        "request_model": ["aisdk.model.id"],
        "response_model": ["stream.response.model"],
        "response_id": ["stream.response.id"],
        "finish_reasons": ["stream.response.finishReason"],
        "input_tokens": ["stream.usage.inputTokens"],
        "output_tokens": ["stream.usage.outputTokens"],
        "total_tokens": ["stream.usage.totalTokens"],
        "reasoning_tokens": ["stream.usage.reasoningTokens"],
        "tool": ["stream.toolCall.toolName"],
        "tool_call_id": ["stream.toolCall.toolCallId"],
        "session_id": ["mastra.metadata.sessionId"],
        "user_id": ["mastra.metadata.userId", "mastra.metadata.resourceId"],
        "tags": ["mastra.tags"],
        "ttft_ms": [TimeOffset("mastra.completion_start_time"), "stream.response.msToFirstChunk"],
        "cache_read_tokens": ["gen_ai.usage.cached_input_tokens", "stream.usage.cachedInputTokens"],
        "arguments": ["gen_ai.tool.input", "stream.toolCall.args"],
        "result": ["gen_ai.tool.output", "stream.toolCall.result"],
        "input": [
            "mastra.agent_run.input",
            "mastra.workflow_run.input",
            "mastra.workflow_step.input",
            "stream.prompt.messages",
        ],
        "output": [
            "mastra.agent_run.output",
            "mastra.workflow_run.output",
            "mastra.workflow_step.output",
            "stream.response.text",
        ],
    },
)
