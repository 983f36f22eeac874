"""Ceilings for a whole run. Only that of steps is set unless somebody sets more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from mappers.loops.detectors.base import WASTE, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    steps: int | None = 200
    """Model calls, tool calls and handoffs."""
    tokens: int | None = None
    cost_usd: Decimal | None = None
    duration_s: float | None = None
    """Seconds from the beginning of the first step."""
    early: float = 0.8
    """Share at which it is said beforehand."""

    name: ClassVar[str] = "budgets"
    category: ClassVar[str] = WASTE
    across: ClassVar[bool] = False
    in_vain: ClassVar[bool] = False
    kinds: ClassVar[frozenset[StepKind]] = frozenset(StepKind) - {StepKind.USER}
    suggestion: ClassVar[str] = (
        "Give the agent this limit itself, or raise the budget if the run is worth it."
    )

    def possible(self, outline: Outline) -> bool:
        return bool(
            (self.steps and outline.steps / self.steps >= self.early)
            or (self.tokens and outline.tokens / self.tokens >= self.early)
            or (self.duration_s and outline.elapsed_ns / 1e9 / self.duration_s >= self.early)
            or (self.cost_usd and float(outline.cost_usd) / float(self.cost_usd) >= self.early * 0.999)
        )

    def look(self, step: Step, recent: Recent) -> Hit | None:
        worst: tuple[float, str, str] | None = None
        if self.steps:
            worst = self._crossed(recent.steps - 1, recent.steps, self.steps, "steps", worst)
        if self.tokens and step.tokens:
            worst = self._crossed(recent.tokens - step.tokens, recent.tokens, self.tokens, "tokens", worst)
        if self.cost_usd and step.cost_nano_usd:
            spent, budget = recent.cost_nano_usd / 1e9, float(self.cost_usd)
            before = spent - step.cost_nano_usd / 1e9
            worst = self._crossed(before, spent, budget, "US dollars", worst)
        if self.duration_s:
            before, spent = recent.elapsed_before_ns / 1e9, recent.elapsed_ns / 1e9
            worst = self._crossed(before, spent, self.duration_s, "seconds", worst)
        if worst is None:
            return None
        share, name, said = worst
        return Hit(name, recent.steps, severity="warning" if share >= 1 else "info", facts={"spent": said})

    def _crossed(
        self, before: float, spent: float, budget: float, name: str, worst: tuple[float, str, str] | None
    ) -> tuple[float, str, str] | None:
        """The worse of two, the second of which counts when this step took it past the next tenth of its budget."""
        share = spent / budget
        if share < self.early or int(share * 10) == int(before / budget * 10) or (worst and worst[0] > share):
            return worst
        over = f", {spent - budget:,.9g} over the budget" if spent > budget else ""
        return share, name, f"{spent:,.9g} of {budget:,.9g} {name}{over}"

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"the run has used {facts['spent']}"
