"""Vercel's AI SDK, versions 3 to 6 (and 7 with its legacy telemetry): scope `ai`, keys `ai.*`.

Each call is told twice: the function a program called, and inside it one `do…` span for each request. Only the
inner ones are calls; the sums that the outer ones repeat are not counted.
"""

from mappers.call_details import parameters_below
from mappers.conventions.base import Below, Convention, Json, KindByValue
from mappers.model import Kind
from mappers.usage_object import searches_told_in

_METADATA = "ai.response.providerMetadata"

CONVENTION = Convention(
    id="vercel_ai",
    priority=90,
    keys=("ai.operationId",),
    scopes=(r"^ai@",),
    kinds=(
        KindByValue(
            "ai.operationId",
            {
                "ai.generateText.doGenerate": Kind.LLM,
                "ai.streamText.doStream": Kind.LLM,
                "ai.generateObject.doGenerate": Kind.LLM,
                "ai.streamObject.doStream": Kind.LLM,
                "ai.generateText": Kind.WORKFLOW,
                "ai.streamText": Kind.WORKFLOW,
                "ai.generateObject": Kind.WORKFLOW,
                "ai.streamObject": Kind.WORKFLOW,
                "ai.toolCall": Kind.TOOL,
                "ai.embed.doEmbed": Kind.EMBEDDING,
                "ai.embedMany.doEmbed": Kind.EMBEDDING,
                "ai.embed": Kind.WORKFLOW,
                "ai.embedMany": Kind.WORKFLOW,
                "ai.rerank.doRerank": Kind.RERANKER,
                "ai.rerank": Kind.WORKFLOW,
            },
        ),
    ),
    fields={
        "agent": ["ai.telemetry.functionId"],
        "session_id": ["ai.telemetry.metadata.sessionId"],
        "user_id": ["ai.telemetry.metadata.userId"],
        "tags": ["ai.telemetry.metadata.tags"],
        "metadata": [Below("ai.telemetry.metadata")],
        "operation": ["ai.operationId"],
        "provider": ["ai.model.provider"],
        "response_model": ["ai.response.model", "gen_ai.response.model"],
        "request_model": ["ai.model.id"],
        "response_id": ["ai.response.id"],
        "finish_reasons": ["ai.response.finishReason", "ai.finishReason"],
        "ttft_ms": ["ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"],
        "input_tokens": ["ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"],
        "output_tokens": ["ai.usage.outputTokens", "ai.usage.completionTokens"],
        "total_tokens": ["ai.usage.totalTokens"],
        "cache_read_tokens": [
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.cachedInputTokens",
            Json(_METADATA, "openai", "cachedPromptTokens"),
            Json(_METADATA, "anthropic", "usage", "cache_read_input_tokens"),
        ],
        "cache_write_tokens": [
            "ai.usage.inputTokenDetails.cacheWriteTokens",
            Json(_METADATA, "anthropic", "usage", "cache_creation_input_tokens"),
        ],
        "cache_write_1h_tokens": [
            Json(_METADATA, "anthropic", "usage", "cache_creation", "ephemeral_1h_input_tokens")
        ],
        "web_searches": [searches_told_in(_METADATA)],
        "service_tier": [
            Json(_METADATA, "openai", "serviceTier"),
            Json(_METADATA, "anthropic", "usage", "service_tier"),
        ],
        "reasoning_tokens": [
            "ai.usage.outputTokenDetails.reasoningTokens",
            "ai.usage.reasoningTokens",
            Json(_METADATA, "openai", "reasoningTokens"),
        ],
        "parameters": [
            parameters_below(
                "ai.settings.",
                *("temperature", "topP", "topK", "maxTokens", "maxOutputTokens", "seed", "stopSequences"),
                *("frequencyPenalty", "presencePenalty"),
            )
        ],
        "offered_tools": ["ai.prompt.tools"],
        "tool": ["ai.toolCall.name"],
        "tool_call_id": ["ai.toolCall.id"],
        "arguments": ["ai.toolCall.args"],
        "result": ["ai.toolCall.result"],
        "input": ["ai.prompt.messages", "ai.prompt", "ai.value", "ai.values"],
        "tool_requests": ["ai.response.toolCalls", "ai.result.toolCalls"],
        "output": [
            "ai.response.text",
            "ai.response.toolCalls",
            "ai.response.object",
            "ai.result.text",
            "ai.result.toolCalls",
            "ai.result.object",
        ],
    },
)
