"""Firebase Genkit: `genkit:*`, whole inputs and outputs as JSON."""

from mappers.conventions.base import Convention, Json, KindByValue, NameMatch
from mappers.model import Kind

_OUTPUT = "genkit:output"

CONVENTION = Convention(
    id="genkit",
    priority=76,
    keys=("genkit:type", "genkit:metadata:subtype", "genkit:name"),
    scopes=(r"^genkit-tracer@",),
    kinds=(
        KindByValue(
            "genkit:metadata:subtype",
            {
                "model": Kind.LLM,
                "background-model": Kind.LLM,
                "embedder": Kind.EMBEDDING,
                "tool": Kind.TOOL,
                "tool.v2": Kind.TOOL,
                "retriever": Kind.RETRIEVER,
                "reranker": Kind.RERANKER,
                "evaluator": Kind.EVALUATOR,
                "agent": Kind.AGENT,
                "flow": Kind.WORKFLOW,
                "prompt": Kind.OTHER,
                "indexer": Kind.OTHER,
            },
        ),
        KindByValue(
            "genkit:type",
            {"flow": Kind.WORKFLOW, "flowStep": Kind.WORKFLOW, "util": Kind.WORKFLOW, "action": Kind.OTHER},
            order=77,
        ),
    ),
    fields={
        "agent": ["genkit:metadata:agentName"],
        "session_id": ["genkit:sessionId", "genkit:metadata:sessionId"],
        "outcome": ["genkit:state"],
        # Models are named with the plugin that serves them: `ollama/llama3.2`.
        "provider": [NameMatch(r"([\w.-]+)/.")],
        "request_model": ["genkit:name"],
        "response_model": [Json(_OUTPUT, "raw", "modelVersion"), Json(_OUTPUT, "raw", "model")],
        "response_id": [Json(_OUTPUT, "raw", "responseId"), Json(_OUTPUT, "raw", "id")],
        "finish_reasons": [Json(_OUTPUT, "finishReason")],
        "input_tokens": [Json(_OUTPUT, "usage", "inputTokens")],
        "output_tokens": [Json(_OUTPUT, "usage", "outputTokens")],
        "total_tokens": [Json(_OUTPUT, "usage", "totalTokens")],
        "cache_read_tokens": [
            Json(_OUTPUT, "usage", "cachedContentTokens"),
            Json(_OUTPUT, "raw", "usage", "prompt_tokens_details", "cached_tokens"),
            Json(_OUTPUT, "raw", "usage", "cache_read_input_tokens"),
        ],
        "cache_write_tokens": [Json(_OUTPUT, "raw", "usage", "cache_creation_input_tokens")],
        "reasoning_tokens": [
            Json(_OUTPUT, "usage", "thoughtsTokens"),
            Json(_OUTPUT, "raw", "usage", "completion_tokens_details", "reasoning_tokens"),
        ],
        "tool": ["genkit:name"],
        "arguments": ["genkit:input"],
        "result": [_OUTPUT],
        "input": ["genkit:input"],
        "output": [_OUTPUT],
    },
)
