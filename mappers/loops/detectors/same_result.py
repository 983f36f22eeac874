"""Other words, same answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind

FEW_WORDS = 3
"""Of arguments, keys included, that name an item rather than say something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SameResult:
    chain: int = 3
    """The same answer, nothing gained in between."""
    total: int = 6
    """The same answer within the window."""
    length: int = 60
    """Shorter answers are the same by chance."""
    long: int = 200
    """Shorter answers may well hold for several items that are asked for one by one."""

    name: ClassVar[str] = "same_result"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Rewording the call does not change what `{tool}` answers; let the agent work with this answer"
        " or try another source."
    )

    def possible(self, outline: Outline) -> bool:
        least = min(self.chain, self.total)
        requests = outline.requests
        return any(count >= least for count in requests.values()) or any(
            calls.same_answer(least - requests[calls.tool]) for calls in outline.calls.values()
        )

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not step.has_result or step.result_length < self.length:
            return None
        if step.quiet or step.acknowledges or step.polls:
            return None
        same = [
            other
            for other in recent.of_tool
            if other.has_result and other.outcome == step.outcome and not other.quiet
            if not self._asks_of_another(step, other)
        ]
        chain = [other for other in same if other.progress == step.progress]
        if len(chain) + 1 >= self.chain:
            return Hit(step.outcome, len(chain) + 1, chain)
        if len(same) + 1 >= self.total:
            return Hit(step.outcome, len(same) + 1, same)
        return None

    def _asks_of_another(self, step: Step, other: Step) -> bool:
        """A short answer that holds for each of many items, which the calls number or name, is no answer again."""
        return (
            step.result_length < self.long
            and other.exact != step.exact
            and (other.shape == step.shape or max(len(step.sketch), len(other.sketch)) <= FEW_WORDS)
        )

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{tool}` gave the same answer {count} times"
