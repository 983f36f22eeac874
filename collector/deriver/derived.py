"""What a batch of events led to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.loops import WarningKey
from mappers.model import Event, Run, Warning
from sinks.base import RunKey

Tell = Callable[[Sequence[Warning], Sequence[Run], Mapping[WarningKey, Warning]], None]
"""Is told of warnings that were stored, with the runs that they may be in and what was said of them before."""


class New(NamedTuple):
    """What of a run was not known before."""

    spans: int = 0
    events: int = 0
    runs: int = 0


@dataclass(slots=True)
class Derived:
    """What one batch of events led to."""

    runs: list[Run] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """The batch's events, settled, one for each identity."""
    resettled: list[Event] = field(default_factory=list)
    """Events of earlier batches whose of-the-run fields changed; their rows must be written again. Like those of
    `events` that have such fields, they are copies: later batches settle them anew while these are written."""
    warnings: list[Warning] = field(default_factory=list)
    """New, changed and retracted ones."""
    before: dict[WarningKey, Warning] = field(default_factory=dict)
    """What was said of these before."""
    new: dict[RunKey, New] = field(default_factory=dict)
    """By run."""
    outdated: list[Event] = field(default_factory=list)
    """Events of the batch of which a later version was there before them."""

    def count(self, key: RunKey, new: New) -> None:
        """Adds to what is new of a run: where the store failed some was counted before."""
        counted = self.new.get(key, New())
        self.new[key] = New(counted.spans + new.spans, counted.events + new.events, counted.runs + new.runs)

    @property
    def new_spans(self) -> int:
        return sum(new.spans for new in self.new.values())

    @property
    def new_events(self) -> int:
        return sum(new.events for new in self.new.values())

    @property
    def new_runs(self) -> int:
        return sum(new.runs for new in self.new.values())
