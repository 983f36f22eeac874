"""Nearly the same call, nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mappers.loops.detectors.base import LOOP, Hit
from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class NearRepeat:
    chain: int = 4
    """Nearly the same call, nothing gained in between; how similar is set in `Novelty`."""
    gap: int = 6
    """Tool steps that may lie between two of them."""

    name: ClassVar[str] = "near_repeat"
    category: ClassVar[str] = LOOP
    across: ClassVar[bool] = True
    in_vain: ClassVar[bool] = True
    kinds: ClassVar[frozenset[StepKind]] = frozenset({StepKind.TOOL})
    suggestion: ClassVar[str] = (
        "The agent varies details of `{tool}` that do not matter; tell it what has been tried, or end the search."
    )

    def possible(self, outline: Outline) -> bool:
        return any(
            calls.similar(max(1, self.chain - 1), outline.novelty.near) for calls in outline.calls.values()
        )

    def look(self, step: Step, recent: Recent) -> Hit | None:
        if not _varies(step):
            return None
        chain: list[Step] = []
        last = step.position
        for other in reversed(recent.tools):
            if other.progress != step.progress or last - other.position > self.gap:
                break
            if other.tool == step.tool and _varies(other):
                chain.append(other)
                last = other.position
        # The first of them resembled nothing yet.
        if len(chain) + 2 < self.chain:
            return None
        return Hit(step.tool, len(chain) + 2, chain[::-1])

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        return f"`{tool}` was called {count} times with nearly the same arguments and nothing new was learned"


def _varies(step: Step) -> bool:
    """Something that was done with other details, and is said to have been, was no attempt at the same."""
    return step.near and (step.soft or step.quiet) and not step.acknowledges
