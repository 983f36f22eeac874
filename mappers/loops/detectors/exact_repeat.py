"""The same call with the same answer, with nothing learned in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRepeat:
    chain: int = 3
    """Same call, same answer, nothing gained in between."""
    total: int = 6
    """Same call, same answer, within the window, whatever was between."""
    row: int = 6
    """Same call in a row, each time next to nothing new."""
    trickle: int = 3
    """Same call, each time only a share of the answer new, nothing gained in between."""
    blind: int = 5
    """Same call in a row with long arguments, or with no answer captured."""
    blind_length: int = 80
    poll: int = 20
    """Instead of these for tools that are asked again on purpose."""

    name: ClassVar[str] = "exact_repeat"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "Tell the agent that `{tool}` has already answered this, or stop it after a fixed number of identical calls."
    )

    def possible(self, outline: Outline) -> bool:
        least = max(2, min(self.chain, self.total, self.row, self.blind))
        # The first call that brings but a share need not be a repetition; it may only resemble another.
        few, trickle = max(2, self.trickle), max(2, self.trickle - 1)
        return outline.same_request(min(least, trickle)) or any(
            calls.same(least) or (len(calls) >= few and calls.same(trickle))
            for calls in outline.calls.values()
        )

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not (step.has_args or step.has_result):
            return None
        if not step.repeated:
            return None
        waits = step.polls and not step.failed
        if step.has_result and (step.has_args or step.result_length):
            same = [other for other in recent.of_call if other.has_result and other.outcome == step.outcome]
            chain = [other for other in same if other.progress == step.progress]
            if len(chain) + 1 >= (self.poll if waits else self.chain):
                return Hit(step.exact, len(chain) + 1, chain)
            if len(same) + 1 >= (self.poll if step.polls else self.total):
                return Hit(step.exact, len(same) + 1, same)
        if not step.has_args:
            return None
        if step.trickle and step.soft and not step.stale:
            trickles = [
                other
                for other in recent.of_call
                if other.progress == step.progress and other.trickle and other.soft and not other.stale
            ]
            if len(trickles) + 2 >= (self.poll if step.polls else self.trickle):
                return Hit(step.exact, len(trickles) + 2, trickles)
        return self._in_a_row(step, recent)

    def _in_a_row(self, step: Step, recent: Recent) -> Hit | None:
        row: list[Step] = []
        for other in reversed(recent.tools):
            if other.exact != step.exact:
                break
            row.append(other)
        row.reverse()
        if not row:
            return None
        soft: list[Step] = []
        if step.soft:
            for other in reversed(row):
                soft.append(other)
                if not other.soft:
                    break
        least = self.poll if step.polls else self.row
        if len(soft) + 1 >= least:
            return Hit(step.exact, len(soft) + 1, soft[::-1])
        blind = self.poll if step.polls else self.blind
        if len(row) + 1 >= blind and (step.args_length >= self.blind_length or not step.has_result):
            return Hit(step.exact, len(row) + 1, row)
        return None

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{tool}` was called {count} times in the same way and nothing new was learned"
