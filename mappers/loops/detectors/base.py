"""What every detector is: it looks at a step in the light of the steps before it, and says what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Protocol

from mappers.loops.outline import Outline
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind

LOOP = "loop"
WASTE = "waste"
NO_FACTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Hit:
    """A detector's condition holds at this step."""

    key: int | str
    """What repeats; with the run and the detector it makes the finding's identity."""
    count: int
    """How often it has happened so far."""
    before: Sequence[Step] = ()
    """Earlier steps that are evidence; the step looked at always is."""
    severity: str = ""
    """Where the detector knows better than the ladder of `findings`."""
    again: bool = True
    """Whether it happened once more with this step; False: it goes on."""
    facts: Mapping[str, str] = field(default_factory=lambda: NO_FACTS)
    """Words for the message."""


class Detector(Protocol):
    """Keeps no state of its own: all memory is in `Recent`, so that it is bounded and can be replayed.

    A detector of others need not have `possible`, and then makes every run be looked at; nor `across` and `in_vain`,
    which are then True.
    """

    name: ClassVar[str]
    category: ClassVar[str]
    """loop | waste"""
    suggestion: ClassVar[str]
    """What to do about it, in a sentence; `{tool}` and the hit's facts are filled in."""
    kinds: ClassVar[frozenset[StepKind]]
    """Of the steps that it looks at."""
    across: ClassVar[bool]
    """Whether what it says of a run can be said of the runs of a session too."""

    in_vain: ClassVar[bool]
    """Whether what the run spends from the onset to the latest hit is wasted."""

    def possible(self, outline: Outline) -> bool:
        """Whether its condition could hold somewhere in a thread, by what is stored of its events. It may say yes too
        often, and must never say no where `look` would find something."""

    def look(self, step: Step, recent: Recent) -> Hit | None:
        """The hit, if the condition holds with this step; `recent` does not hold the step yet."""

    def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
        """What happened, in half a sentence, without cost."""
