"""A model that says the same thing again, with no tool, handoff or user turn in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.fingerprint import resembles
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedOutput:
    chain: int = 3
    """Outputs that are the same or nearly so."""
    similarity: float = 0.8

    name: ClassVar[str] = "repeated_output"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.OUTPUT})
    suggestion: ClassVar[str] = (
        "End the turn when the model repeats itself; its prompt gives it nothing else to do."
    )

    def possible(self, outline: Outline) -> bool:
        return outline.repeated_output(self.chain, self.similarity)

    def look(self, step: Step, recent: Recent) -> Hit | None:
        chain = [other for other in recent.outputs if self._same(step, other)]
        if len(chain) + 1 < self.chain:
            return None
        return Hit(step.agent, len(chain) + 1, chain)

    def _same(self, step: Step, other: Step) -> bool:
        return other.outcome == step.outcome or (
            other.agent == step.agent and resembles(step.sketch, (other.sketch,), self.similarity)
        )

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"the model wrote the same text {count} times"
