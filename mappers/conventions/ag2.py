"""AG2's own telemetry: `ag2.span.type` beside GenAI keys, usage told once more on spans of its own."""

from mappers.conventions.base import Convention, KindByValue, Quirk
from mappers.model import Kind

CONVENTION = Convention(
    id="ag2",
    priority=75,
    keys=("ag2.span.type",),
    scopes=(r"^opentelemetry\.instrumentation\.ag2@",),
    kinds=(
        KindByValue(
            "ag2.span.type",
            {
                "llm": Kind.LLM,
                "tool": Kind.TOOL,
                "code_execution": Kind.TOOL,
                "agent": Kind.AGENT,
                "conversation": Kind.WORKFLOW,
                "multi_conversation": Kind.WORKFLOW,
                # Repeats what the calls report.
                "usage": Kind.OTHER,
                "human_input": Kind.OTHER,
                "speaker_selection": Kind.OTHER,
                "envelope": Kind.OTHER,
                "channel": Kind.OTHER,
                "task": Kind.OTHER,
                "agent_lifetime": Kind.OTHER,
                "agent_event": Kind.OTHER,
            },
        ),
    ),
    fields={
        "agent": ["gen_ai.agent.name", "ag2.agent.id"],
        "conversation_id": ["gen_ai.conversation.id", "ag2.network.channel_id"],
        "total_tokens": ["ag2.usage.total_tokens"],
        "input": ["gen_ai.input.messages", "ag2.human_input.prompt"],
        "output": ["gen_ai.output.messages", "ag2.human_input.response"],
    },
    quirks=(Quirk(name=r"^agent\.lifetime$", setup=True),),
)
