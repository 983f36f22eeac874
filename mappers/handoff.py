"""Which tool calls hand the conversation to another agent, and to whom."""

from __future__ import annotations

import re
from typing import Any

from mappers.messages.document import parse, remembered

_NAMED = re.compile(r"^(?:transfer|handoff|hand_off)(?:_back)?_to_(?!agent$)(.+)$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[-./:]")
_GENERIC = frozenset(
    {
        "transfer_to_agent",
        "handoff_to_agent",
        "handoff",
        "delegate_task_to_member",
        "delegate_task_to_members",
        "delegate work to coworker",
        "ask question to coworker",
    }
)
_TARGET_ARGUMENTS = ("agent_name", "to_agent", "member_id", "coworker", "agent")


@remembered(4_096)
def target_in_name(tool: str) -> str | None:
    """The agent that a tool's name names; "" if the tool hands over but its name does not say to whom; None
    if it is no handoff. The rule looks at the name's last segment after `-`, `.`, `/` or `:`."""
    if tool.lower() in _GENERIC:
        return ""
    last = _SEPARATORS.split(tool)[-1]
    if last.lower() in _GENERIC:
        return ""
    match = _NAMED.match(last)
    return match[1] if match else None


def target_in_arguments(arguments: Any) -> str:
    """The agent that a handoff tool's arguments name, at most one level deep; "" if none."""
    if isinstance(arguments, str):
        arguments = parse(arguments)
    if not isinstance(arguments, dict):
        return ""
    for holder in (arguments, *(value for value in arguments.values() if isinstance(value, dict))):
        for key in _TARGET_ARGUMENTS:
            if isinstance(holder.get(key), str) and holder[key]:
                return str(holder[key])
    return ""
