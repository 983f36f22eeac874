"""Laminar's SDKs (`lmnr`): `lmnr.span.*`; model calls carry GenAI keys with the providers' own shapes."""

from mappers.conventions.base import Below, Convention, Json, KindByValue, NameMatch, Quirk
from mappers.model import Kind

CONVENTION = Convention(
    id="lmnr",
    priority=40,
    keys=("lmnr.span.type", "lmnr.span.path"),
    scopes=(r"^lmnr\.tracer@", r"^@lmnr-ai/"),
    kinds=(
        KindByValue(
            "lmnr.span.type",
            {
                "LLM": Kind.LLM,
                "CACHED": Kind.OTHER,
                "TOOL": Kind.TOOL,
                "DEFAULT": Kind.OTHER,
                "PIPELINE": Kind.WORKFLOW,
                "EVALUATOR": Kind.EVALUATOR,
                "HUMAN_EVALUATOR": Kind.EVALUATOR,
                "EVALUATION": Kind.EVALUATOR,
                "EXECUTOR": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": [Json("langchain.metadata", "lc_agent_name")],
        "session_id": [
            "lmnr.association.properties.session_id",
            Json("langchain.metadata", "session_id"),
            Json("langchain.metadata", "thread_id"),
        ],
        "user_id": ["lmnr.association.properties.user_id", Json("langchain.metadata", "user_id")],
        "tags": ["lmnr.association.properties.tags"],
        "metadata": [Below("lmnr.association.properties.metadata"), Below("lmnr.association.properties")],
        "total_tokens": ["llm.usage.total_tokens"],
        "tool": ["gen_ai.tool.name", NameMatch(r"(?:execute_tool )?(.+)")],
        "arguments": ["lmnr.span.input"],
        "result": ["lmnr.span.output"],
        "input": ["lmnr.span.input"],
        "output": ["lmnr.span.output"],
    },
    quirks=(
        # Embeddings are told as calls of a writing model.
        Quirk(name=r"\.embeddings$", when=Kind.LLM, kind=Kind.EMBEDDING),
    ),
)
