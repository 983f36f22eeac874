"""Google's Agent Development Kit: before 2 its spans are told by their names, since 2 by the GenAI keys. That for
Python writes Gemini's answers in snake case, that for JavaScript in camel case."""

from collections.abc import Callable

from mappers.conventions.base import Computed, Convention, Json, KindByName, NameMatch, Quirk
from mappers.model import AttributeValue, Kind

_RESPONSE = "gcp.vertex.agent.llm_response"


def _captured(key: str) -> Computed:
    """A document; an empty object says that content is not captured."""

    def read(get: Callable[[str], AttributeValue]) -> AttributeValue:
        value = get(key)
        return None if value == "{}" else value

    return Computed(read, (key,))


def _answered(get: Callable[[str], AttributeValue]) -> AttributeValue:
    """The answer, where it says anything: at the end of a stream there may be nothing but its usage."""
    value = get(_RESPONSE)
    return value if not isinstance(value, str) or '"content"' in value else None


def _in_answer(*path: str) -> list[Json]:
    """Where something stands in an answer, in both cases."""
    return [Json(_RESPONSE, *path), Json(_RESPONSE, *map(_camel, path))]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


CONVENTION = Convention(
    id="google_adk",
    priority=83,
    scopes=(r"^gcp\.vertex\.agent@",),
    kinds=(
        KindByName(Kind.LLM, r"call_llm$", order=115),
        KindByName(Kind.TOOL, r"execute_tool .", order=115),
        KindByName(Kind.AGENT, r"agent_run \[", order=115),
        KindByName(Kind.WORKFLOW, r"invocation( \[|$)", order=115),
    ),
    fields={
        "agent": ["gen_ai.agent.name", NameMatch(r"agent_run \[(.+)\]$")],
        "session_id": ["gcp.vertex.agent.session_id"],
        "response_model": _in_answer("model_version"),
        "total_tokens": _in_answer("usage_metadata", "total_token_count"),
        "cache_read_tokens": _in_answer("usage_metadata", "cached_content_token_count"),
        "reasoning_tokens": _in_answer("usage_metadata", "thoughts_token_count"),
        "tool": ["gen_ai.tool.name", NameMatch(r"execute_tool (.+)")],
        "arguments": [_captured("gcp.vertex.agent.tool_call_args")],
        "result": [_captured("gcp.vertex.agent.tool_response")],
        "input": [_captured("gcp.vertex.agent.llm_request")],
        "output": [Computed(_answered, (_RESPONSE,))],
    },
    quirks=(
        # A span that merges the results of parallel tools.
        Quirk(scope=r"^gcp\.vertex\.agent@", name=r"\(merged\b", when=Kind.TOOL, kind=Kind.OTHER),
    ),
)
