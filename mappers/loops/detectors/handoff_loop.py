"""Agents that pass the same task to and fro without work in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffLoop:
    chain: int = 3
    """Handoffs of tasks that were handed over before, with nothing gained in between; how similar is set in
    `Novelty`."""
    rounds: int = 3
    """The same agents in the same order, with nothing gained in between and nothing new to say."""
    longest: int = 6
    """Handoffs of a round, from 2."""

    name: ClassVar[str] = "handoff_loop"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.HANDOFF})
    suggestion: ClassVar[str] = (
        "Say which agent owns the task, and let an agent that can not do it answer why instead of passing it on."
    )

    def possible(self, outline: Outline) -> bool:
        return outline.handoffs >= max(2, min(self.chain, 2 * self.rounds))

    def look(self, step: Step, recent: Recent) -> Hit | None:
        unworked = [other for other in recent.handoffs if other.progress == step.progress]
        if step.near:
            chain: list[Step] = []
            for other in reversed(unworked):
                chain.append(other)
                if not other.near:
                    break
            if len(chain) + 1 >= self.chain:
                return Hit(step.tool, len(chain) + 1, chain[::-1])
        return self._rounds(step, [*unworked, step])

    def _rounds(self, step: Step, handoffs: list[Step]) -> Hit | None:
        for period in range(2, self.longest + 1):
            length = 0
            for index in range(len(handoffs) - 1, period - 1, -1):
                if handoffs[index].tool != handoffs[index - period].tool:
                    break
                length += 1
            last = handoffs[-period:]
            if any(other.has_args and not other.near for other in last):
                continue  # the agents pass on something else each time
            if length >= period * (self.rounds - 1) and len({other.tool for other in last}) > 1:
                rounds = 1 + length // period
                return Hit(min(other.tool for other in last), rounds, handoffs[-period * rounds : -1])
        return None

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"the task was handed to `{tool}` {count} times without work in between"
