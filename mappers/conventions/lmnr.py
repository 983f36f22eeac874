"""Laminar's SDKs (`lmnr`): `lmnr.span.*`; model calls carry GenAI keys with the providers' own shapes."""

from mappers.conventions.base import Below, Convention, KindByValue, NameMatch, Quirk
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
        "session_id": ["lmnr.association.properties.session_id"],
        "user_id": ["lmnr.association.properties.user_id"],
        "tags": ["lmnr.association.properties.tags"],
        "metadata": [Below("lmnr.association.properties.metadata"), Below("lmnr.association.properties")],
        "total_tokens": ["llm.usage.total_tokens"],
        "tool": [NameMatch(r"(.+)")],
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
