"""The Mistral SDK's own spans: named after the API's operations, GenAI keys without a response id.

Of failures and streams it tells no more than the request.
"""

from mappers.conventions.base import Convention, KindByName
from mappers.model import Kind

CONVENTION = Convention(
    id="mistral",
    priority=92,
    keys=("mistral_ai.operation.id",),
    scopes=(r"^mistralai_sdk_tracer@",),
    kinds=(
        KindByName(Kind.LLM, r"(?:chat|fim|agents)_completion_|stream_(?:chat|fim|agents)\b"),
        KindByName(Kind.LLM, r"agents_api_v\d_conversations_(?:start|append|restart)"),
        KindByName(Kind.EMBEDDING, r"embeddings_v\d_"),
    ),
    fields={
        "operation": ["mistral_ai.operation.id"],
        "total_tokens": ["mistral_ai.request.total_tokens"],
    },
)
