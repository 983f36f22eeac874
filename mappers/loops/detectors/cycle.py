"""The same steps in the same order, round and round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    longest: int = 6
    """Steps of a round, from 2."""
    rounds: int = 3
    """The last of them without anything new."""

    name: ClassVar[str] = "cycle"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Each step undoes or forgets the one before; keep what was learned in the agent's context,"
        " or stop it after two rounds."
    )

    def possible(self, outline: Outline) -> bool:
        if self.rounds < 2:
            return outline.shapes(2) > 0
        return outline.tool_steps >= 2 * self.rounds and outline.shapes(self.rounds) > 1

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not (step.soft or step.quiet) or not (step.has_args or step.has_result):
            return None
        if not any(other.shape == step.shape for other in recent.of_tool):  # the tool is part of the shape
            return None
        steps = [*recent.tools, step]
        if len({other.shape for other in steps[-self.longest :]}) < 2:
            return None  # the same step again and again goes round nothing
        for period in range(2, self.longest + 1):
            if len(steps) <= period or steps[-1 - period].shape != step.shape:
                continue
            last = steps[-period:]
            if not all(other.soft or other.quiet for other in last):
                continue
            if len({other.shape for other in last}) < 2 or any(
                not other.has_args and not other.has_result for other in last
            ):
                continue
            length = _matching(steps, period, period * self.rounds)
            if length >= period * (self.rounds - 1):
                rounds = 1 + length // period
                first = min(other.shape for other in last)
                return Hit(
                    first,
                    rounds,
                    steps[-period * rounds : -1],
                    again=step.shape == first,
                    facts={
                        "tools": ", ".join(dict.fromkeys(other.tool for other in last)),
                        "steps": str(period),
                    },
                )
        return None

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"the same {facts['steps']} steps ({facts['tools']}) went round {count} times"


def _matching(steps: Sequence[Step], period: int, most: int) -> int:
    """Steps at the end, up to `most`, that equal the one a period before but for digits."""
    length = 0
    for index in range(len(steps) - 1, max(period - 1, len(steps) - 1 - most), -1):
        if steps[index].shape != steps[index - period].shape:
            break
        length += 1
    return length
