"""GitHub Copilot's command line: GenAI keys, and agents of which its own has no name."""

from mappers.conventions.base import Computed, Convention, NameMatch
from mappers.model import AttributeValue

_OPERATION = "gen_ai.operation.name"


def _own_agent(operation: AttributeValue) -> str | None:
    return "github-copilot" if operation == "invoke_agent" else None


CONVENTION = Convention(
    id="github_copilot",
    priority=97,
    scopes=(r"^github\.copilot@",),
    fields={
        "agent": [
            "gen_ai.agent.name",
            NameMatch(r"invoke_agent (.+)"),
            Computed(lambda get: _own_agent(get(_OPERATION)), (_OPERATION,)),
        ],
    },
)
