"""The Anthropic SDK's own spans: named after the API's methods, GenAI keys that include the cache."""

from mappers.conventions.base import Convention, KindByName
from mappers.model import Kind

CONVENTION = Convention(
    id="anthropic",
    priority=91,
    scopes=(r"^com\.anthropic\.(sdk|claude-platform)\b",),
    kinds=(
        KindByName(Kind.LLM, r"anthropic\.(messages|completions)\.(create|stream|parse)\b"),
        KindByName(Kind.TOOL, r"anthropic\.tool_use ."),
        # Counting tokens, files, batches, models: requests that make no model write.
        KindByName(Kind.OTHER, r"anthropic\.(messages|models|files|skills)\."),
    ),
    fields={
        "conversation_id": ["gen_ai.conversation.id", "anthropic.session.id"],
        "finish_reasons": ["gen_ai.response.finish_reasons", "anthropic.message.stop_reason"],
    },
)
