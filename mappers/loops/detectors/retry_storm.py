"""The same call, refused for lack of capacity, tried again too soon and too often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import WASTE, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStorm:
    failures: int = 4
    """Of one call, for rate limits, overload or timeouts."""
    within_s: float = 60.0
    """Seconds."""

    name: ClassVar[str] = "retry_storm"
    category: ClassVar[str] = WASTE
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.CALL})
    suggestion: ClassVar[str] = "Back off exponentially and honour Retry-After; give up after a few attempts."

    def possible(self, outline: Outline) -> bool:
        if any(count >= self.failures and given for given, count in outline.refused.items()):
            return True
        return outline.failed >= self.failures and outline.any_tool(self.failures, lambda calls: calls.failed)

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not (step.failed and step.transient and step.exact):
            return None
        earlier = recent.tools if step.kind is StepKind.TOOL else recent.calls
        since = step.start_ns - int(self.within_s * 1e9)
        failures = [
            other
            for other in earlier
            if other.exact == step.exact and other.failed and other.transient and other.start_ns >= since
        ]
        if len(failures) + 1 < self.failures:
            return None
        return Hit(
            step.exact, len(failures) + 1, failures, facts={"what": step.tool or step.model or "a model"}
        )

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{facts['what']}` was tried again {count} times at short intervals though it was refused or timed out"
