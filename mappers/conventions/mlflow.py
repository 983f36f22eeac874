"""MLflow Tracing: `mlflow.*`, every attribute one JSON document, texts in quotes included."""

from mappers.conventions.base import Convention, Json, KindByValue, NameMatch
from mappers.model import Kind
from mappers.usage_object import searches_told_in

_USAGE = "mlflow.chat.tokenUsage"

CONVENTION = Convention(
    id="mlflow",
    priority=30,
    keys=("mlflow.spanType", "mlflow.traceRequestId"),
    scopes=(r"^mlflow\.",),
    kinds=(
        KindByValue(
            "mlflow.spanType",
            {
                "CHAT_MODEL": Kind.LLM,
                "LLM": Kind.LLM,
                "TOOL": Kind.TOOL,
                "AGENT": Kind.AGENT,
                "CHAIN": Kind.WORKFLOW,
                "WORKFLOW": Kind.WORKFLOW,
                "TASK": Kind.WORKFLOW,
                "RETRIEVER": Kind.RETRIEVER,
                "RERANKER": Kind.RERANKER,
                "EMBEDDING": Kind.EMBEDDING,
                "GUARDRAIL": Kind.GUARDRAIL,
                "EVALUATOR": Kind.EVALUATOR,
                "PARSER": Kind.OTHER,
                "MEMORY": Kind.OTHER,
                "UNKNOWN": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": [Json("metadata", "lc_agent_name")],
        "session_id": [
            Json("mlflow.trace.session"),
            Json("session.id"),
            Json("metadata", "session_id"),
            Json("metadata", "thread_id"),
        ],
        "user_id": [Json("mlflow.trace.user"), Json("user.id"), Json("metadata", "user_id")],
        "metadata": ["metadata"],
        "provider": [Json("mlflow.llm.provider")],
        "request_model": [
            Json("model"),
            Json("mlflow.spanInputs", "model"),
            Json("invocation_params", "model"),
        ],
        "response_model": [
            Json("mlflow.spanOutputs", "model"),
            Json("mlflow.spanOutputs", "model_name"),
            Json("mlflow.llm.model"),
        ],
        "response_id": [
            Json("mlflow.spanOutputs", "id"),
            Json("mlflow.spanOutputs", "response_id"),
            Json("mlflow.spanOutputs", "provider_response_id"),
        ],
        "streaming": [Json("stream"), Json("mlflow.spanInputs", "stream")],
        "finish_reasons": [
            Json("mlflow.spanOutputs", "choices", 0, "finish_reason"),
            Json("mlflow.spanOutputs", "stop_reason"),
            Json("mlflow.spanOutputs", "finish_reason"),
            Json("mlflow.spanOutputs", "candidates", 0, "finish_reason"),
        ],
        "input_tokens": [Json(_USAGE, "input_tokens"), Json("mlflow.spanOutputs", "usage", "prompt_tokens")],
        "output_tokens": [Json(_USAGE, "output_tokens")],
        "total_tokens": [Json(_USAGE, "total_tokens")],
        "cache_read_tokens": [Json(_USAGE, "cache_read_input_tokens")],
        "cache_write_tokens": [Json(_USAGE, "cache_creation_input_tokens")],
        "cache_write_1h_tokens": [
            Json("mlflow.spanOutputs", "usage", "cache_creation", "ephemeral_1h_input_tokens")
        ],
        "web_searches": [searches_told_in("mlflow.spanOutputs")],
        "service_tier": [
            Json("mlflow.spanOutputs", "service_tier"),
            Json("mlflow.spanOutputs", "usage", "service_tier"),
        ],
        "reasoning_tokens": [
            Json(_USAGE, "reasoning_tokens"),
            Json(_USAGE, "reasoning_output_tokens"),
            Json("mlflow.spanOutputs", "usage", "details", "reasoning_tokens"),
            # Gemini's, which the sum of output tokens leaves out; the total holds them.
            Json("mlflow.spanOutputs", "usage_metadata", "thoughts_token_count"),
        ],
        "cost_usd": [Json("mlflow.llm.cost", "total_cost")],
        "documents": ["mlflow.spanOutputs"],
        "tool": [NameMatch(r"(.+)")],
        "tool_call_id": [Json("tool_call_id")],
        "arguments": ["mlflow.spanInputs"],
        "result": ["mlflow.spanOutputs"],
        "input": ["mlflow.spanInputs"],
        "output": ["mlflow.spanOutputs"],
    },
)
