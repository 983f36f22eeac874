"""Nothing found, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyResults:
    chain: int = 4
    """Empty answers of one tool, nothing gained in between."""

    name: ClassVar[str] = "empty_results"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Let `{tool}` say what it could answer, or tell the agent that the data is not there so that it can conclude."
    )

    def possible(self, outline: Outline) -> bool:
        return outline.empty >= self.chain and outline.any_tool(self.chain, lambda calls: calls.empty)

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not step.empty or step.polls:
            return None
        chain = [other for other in recent.of_tool if other.empty and other.progress == step.progress]
        if len(chain) + 1 < self.chain:
            return None
        return Hit(step.tool, len(chain) + 1, chain)

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{tool}` found nothing {count} times"
