"""LiveKit Agents: `lk.*`; contents have moved below `lk.pii.` in newer versions. Durations are in seconds."""

from mappers.conventions.base import Computed, Convention, KindByName, Quirk, Seconds
from mappers.model import Kind

_FAILED = "lk.function_tool.is_error"

CONVENTION = Convention(
    id="livekit",
    priority=77,
    keys=("lk.function_tool.name", "lk.chat_ctx", "lk.pii.chat_ctx", "lk.agent_label"),
    scopes=(r"^livekit-agents@",),
    kinds=(
        # Each attempt is a span below that of the call.
        KindByName(Kind.LLM, r"llm_request(_run)?$"),
        KindByName(Kind.TOOL, r"function_tool$"),
        KindByName(Kind.AGENT, r"(agent_turn|assistant_turn)$"),
        KindByName(Kind.WORKFLOW, r"(agent_session|user_turn|llm_node|llm_fallback_adapter)$"),
        KindByName(Kind.OTHER, r"(tts|stt|eou|vad|realtime_assistant|user_speaking|agent_speaking)"),
    ),
    fields={
        "agent": ["lk.agent_name", "lk.agent_label"],
        "session_id": ["lk.room_sid", "lk.room_name", "lk.pii.room_name"],
        "user_id": ["lk.participant_id"],
        "outcome": [Computed(lambda get: "error" if get(_FAILED) is True else None, (_FAILED,))],
        "ttft_ms": [Seconds("lk.response.ttft")],
        "tool": ["lk.function_tool.name"],
        "tool_call_id": ["lk.function_tool.id"],
        "arguments": ["lk.function_tool.arguments", "lk.pii.function_tool.arguments"],
        "result": ["lk.function_tool.output", "lk.pii.function_tool.output"],
        "tool_requests": ["lk.response.function_calls", "lk.pii.response.function_calls"],
        "input": [
            "gen_ai.input.messages",
            "lk.chat_ctx",
            "lk.pii.chat_ctx",
            "lk.user_input",
            "lk.pii.user_input",
        ],
        "output": ["gen_ai.output.messages", "lk.response.text", "lk.pii.response.text"],
    },
    quirks=(Quirk(name=r"^(job_entrypoint|job_dispatch|start_agent_activity)$", setup=True),),
)
