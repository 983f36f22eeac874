"""A context that only grows, until it costs more than the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mappers.loops.detectors.base import WASTE, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextGrowth:
    calls: int = 10
    """Of one agent, none with less input than the one before."""
    factor: float = 4.0
    """The last one's input over the first one's."""
    tokens: int = 50_000
    """Least input of the last one."""
    share: float = 0.8
    """Of the model's limit, where `limits` has one, from which a single call warns."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Context windows in tokens, by model."""

    name: ClassVar[str] = "context_growth"
    category: ClassVar[str] = WASTE
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.CALL, StepKind.OUTPUT})
    suggestion: ClassVar[str] = (
        "Summarise or drop old turns; every further call pays for the whole history again."
    )

    def possible(self, outline: Outline) -> bool:
        most = outline.most_input_tokens
        if self.limits and most >= self.share * min(self.limits.values()):
            return True
        return outline.model_calls >= self.calls and most >= self.tokens

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not step.input_tokens:
            return None
        limit = self.limits.get(step.model, 0)
        if limit and step.input_tokens >= self.share * limit:
            return Hit(step.agent, 1, (), facts=_facts(step))
        if step.input_tokens < self.tokens:
            return None
        growing: list[Step] = []
        least = step.input_tokens
        for other in reversed(recent.calls):
            if other.agent != step.agent or other.input_tokens is None:
                continue
            if other.input_tokens > least:
                break
            least = other.input_tokens
            growing.append(other)
        if len(growing) + 1 < self.calls or step.input_tokens < self.factor * least:
            return None
        return Hit(step.agent, len(growing) + 1, growing[::-1], facts=_facts(step))

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"the context grew to {facts['tokens']} input tokens in {count} calls"


def _facts(step: Step) -> dict[str, str]:
    return {"tokens": f"{step.input_tokens:,}"}
