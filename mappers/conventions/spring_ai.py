"""Spring AI: GenAI keys on model calls, `spring.ai.*` on what is around them."""

from mappers.conventions.base import Convention, EventAttribute, KindByValue
from mappers.model import Kind

CONVENTION = Convention(
    id="spring_ai",
    priority=88,
    keys=("spring.ai.kind",),
    scopes=(r"^org\.springframework\b",),
    kinds=(
        KindByValue(
            "spring.ai.kind",
            {
                "chat_client": Kind.WORKFLOW,
                "advisor": Kind.OTHER,
                "tool_call": Kind.TOOL,
                "vector_store": Kind.RETRIEVER,
            },
        ),
        KindByValue("gen_ai.operation.name", {"embedding": Kind.EMBEDDING, "framework": Kind.WORKFLOW}),
    ),
    fields={
        "session_id": ["spring.ai.chat.client.conversation.id"],
        "tool": ["spring.ai.tool.definition.name", "gen_ai.tool.name"],
        "arguments": ["spring.ai.tool.call.arguments"],
        "result": ["spring.ai.tool.call.result"],
        "input": [
            "gen_ai.input.messages",
            EventAttribute("gen_ai.content.prompt", "gen_ai.prompt"),
            "spring.ai.chat.client.user.text",
        ],
        "output": [
            "gen_ai.output.messages",
            EventAttribute("gen_ai.content.completion", "gen_ai.completion"),
        ],
    },
)
