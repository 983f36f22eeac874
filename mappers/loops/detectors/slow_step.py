"""A single step that took very long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import WASTE, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStep:
    tool_s: float = 60.0
    """Seconds from which a tool call is slow."""
    model_s: float = 120.0
    """Seconds from which a model call is slow."""

    name: ClassVar[str] = "slow_step"
    category: ClassVar[str] = WASTE
    across: ClassVar[bool] = False
    in_vain: ClassVar[bool] = False
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL, StepKind.CALL, StepKind.OUTPUT})
    suggestion: ClassVar[str] = (
        "Set a timeout for `{tool}`, or run it beside the agent and ask for its result."
    )

    def possible(self, outline: Outline) -> bool:
        return outline.longest_tool_ns / 1e9 > self.tool_s or outline.longest_call_ns / 1e9 > self.model_s

    def look(self, step: Step, recent: Recent) -> Hit | None:
        seconds = (step.end_ns - step.start_ns) / 1e9
        if seconds <= (self.tool_s if step.kind is StepKind.TOOL else self.model_s):
            return None
        what = step.tool or step.model or "a model"
        return Hit(what, 1, severity="info", facts={"what": what, "seconds": f"{seconds:.0f}"})

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{facts['what']}` took {facts['seconds']} s"
