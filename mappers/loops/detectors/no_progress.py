"""Busy without gain: most of the latest steps brought nothing, though no single pattern repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class NoProgress:
    window: int = 12
    """Latest tool steps."""
    idle: int = 9
    """So many of them brought nothing new."""

    name: ClassVar[str] = "no_progress"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Have the agent write down what it knows and what is missing, or hand over to a person."
    )

    def possible(self, outline: Outline) -> bool:
        return outline.tool_steps >= max(self.window, self.idle)

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not step.idle or len(recent.tools) + 1 < self.window:
            return None
        latest = islice(reversed(recent.tools), self.window - 1)
        idle = [other for other in latest if other.idle]
        if len(idle) + 1 < self.idle:
            return None
        return Hit("", len(idle) + 1, idle[::-1], facts={"window": str(self.window)})

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"{count} tool calls brought nothing new"
