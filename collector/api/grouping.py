"""Groups of fields: who reads many runs or entries takes only what they need of each (`fields=usage,cost`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.requests import Request

from collector.api.base import caller_of, need_content
from collector.api.parameters import Parameter, Parameters
from collector.doors.keys import Scope

CORE, CONTENT = "core", "io"

RUN_GROUPS: Mapping[str, Sequence[str]] = {
    CORE: (
        "run_id", "project", "name", "status", "started_at", "ended_at", "duration_ms", "session_id", "error",
        "setup_only", "duplicate_of",
    ),
    "usage": ("usage", "usage_method", "counts"),
    "cost": ("cost_usd", "cost_source"),
    "warnings": ("health", "top_warning"),
    "meta": ("user_id", "environment", "services", "agents", "models", "tools", "tags", "note", "pinned"),
    CONTENT: ("input", "output"),
}  # fmt: skip
"""Fields of a run."""

EVENT_GROUPS: Mapping[str, Sequence[str]] = {
    CORE: (
        "event_id", "seq", "type", "run_id", "span_id", "parent_span_id", "time", "kind", "name", "agent", "model",
        "tool", "status", "latency_ms", "error", "handoff", "duplicate_of",
    ),
    "usage": ("usage", "ttft_ms", "finish_reasons"),
    "cost": ("cost_usd",),
    "meta": ("provider", "operation", "tool_call_id", "convention"),
    CONTENT: (),
}  # fmt: skip
"""Fields of an entry; those of `io` are whatever comes with content."""

RUN_FIELDS = Parameter(
    "fields",
    "groups of fields, beside `core`; without it all, inputs and outputs as far as the key may see them",
    choices=tuple(RUN_GROUPS),
    many=True,
)
EVENT_FIELDS = Parameter(
    "fields",
    "groups of fields, beside `core`; `io` adds inputs, outputs, and what calls were made with, and alone takes nothing"
    " away; without it all but `io`",
    choices=tuple(EVENT_GROUPS),
    many=True,
)


class Groups:
    """What a request wants of each document.

    Args:
        wanted: names of groups; none for all.
    """

    def __init__(
        self, groups: Mapping[str, Sequence[str]], wanted: Collection[str], *, content: bool
    ) -> None:
        self.content = content
        """With what was read and written."""
        self._left_out: frozenset[str] = frozenset()
        if set(wanted) - {CONTENT}:
            self._left_out = frozenset(
                field for name, fields in groups.items() if name not in {CORE, *wanted} for field in fields
            )

    def of(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._left_out:
            return document
        return {name: value for name, value in document.items() if name not in self._left_out}


def run_groups(request: Request, parameters: Parameters) -> Groups:
    """Raises: Problem (403): inputs and outputs are asked for by who may not see them."""
    wanted = parameters.choices(RUN_FIELDS.name)
    if CONTENT in wanted:
        need_content(request)
    content = caller_of(request).may(Scope.CONTENT) and (not wanted or CONTENT in wanted)
    return Groups(RUN_GROUPS, wanted, content=content)


def event_groups(request: Request, parameters: Parameters) -> Groups:
    """Raises: Problem (403): inputs and outputs are asked for by who may not see them."""
    wanted = parameters.choices(EVENT_FIELDS.name)
    if CONTENT in wanted:
        need_content(request)
    return Groups(EVENT_GROUPS, wanted, content=CONTENT in wanted)
