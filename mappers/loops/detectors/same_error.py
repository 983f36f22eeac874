"""The same error again, whatever the arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SameError:
    chain: int = 3
    """The same error, nothing gained in between."""
    total: int = 4
    """The same error within the window."""
    class_chain: int = 4
    """Errors that differ only in what they quote, nothing gained in between."""

    name: ClassVar[str] = "same_error"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Fix what `{tool}` complains about, or give the agent a way round it; trying other arguments does not help."
    )

    def possible(self, outline: Outline) -> bool:
        least = min(self.chain, self.total, self.class_chain)
        return outline.failed >= least and outline.any_tool(least, lambda calls: calls.failed)

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not step.failed:
            return None
        same = [other for other in recent.of_tool if other.failed and other.error == step.error]
        chain = [other for other in same if other.progress == step.progress]
        if len(chain) + 1 >= self.chain:
            return Hit(step.error, len(chain) + 1, chain)
        if len(same) + 1 >= self.total:
            return Hit(step.error, len(same) + 1, same)
        alike = [
            other
            for other in recent.of_tool
            if other.failed and other.progress == step.progress and other.error_class == step.error_class
        ]
        if len(alike) + 1 >= self.class_chain:
            return Hit(step.error_class, len(alike) + 1, alike)
        return None

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{tool}` failed {count} times with the same error"
