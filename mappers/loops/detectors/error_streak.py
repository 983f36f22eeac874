"""One failing step after the other, whatever fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStreak:
    length: int = 6
    """Failing tool steps with none between them that gave something."""

    name: ClassVar[str] = "error_streak"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Stop the agent after a few failures in a row and look at the first one; the rest mostly follow from it."
    )

    def possible(self, outline: Outline) -> bool:
        return outline.failed >= self.length

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not step.failed:
            return None
        streak: list[Step] = []
        for other in reversed(recent.tools):
            if other.failed:
                streak.append(other)
            elif not other.empty:
                break
        if len(streak) + 1 < self.length:
            return None
        return Hit("", len(streak) + 1, streak[::-1])

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"{count} tool calls failed in a row"
