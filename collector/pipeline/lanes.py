"""The ways from the doors into the store: a journal and a pipeline for each signal, and for each process that takes it.

Nothing is lost on the way: what was accepted is stored, queued, or counted as something else, at any moment. Each
number is counted where it happens: accepted at the doors, queued from positions in the journal, stored and duplicates
by the derivation, dead-lettered where letters are written. None is computed as the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from collector.intake.intake import Intake
from collector.journal import Readable
from collector.journal.places import SIGNALS
from collector.pipeline.pipeline import Pipeline


class Lanes:
    """All of them, by lane.

    Args:
        intake: of this process, whose journals are named as their signals are.
    """

    def __init__(
        self, intake: Intake, journals: Mapping[str, Readable], pipelines: Mapping[str, Pipeline[Any]]
    ) -> None:
        self._intake = intake
        self.all_journals = journals
        self.all_pipelines = pipelines

    def journals(self, signal: str) -> list[Readable]:
        return [journal for journal in self.all_journals.values() if journal.signal == signal]

    def pipelines(self, signal: str) -> list[Pipeline[Any]]:
        return [self.all_pipelines[lane] for lane in self._of(signal)]

    def balance(self, signal: str) -> dict[str, int]:
        """Items of one signal since this process started, replayed ones included:
        accepted = stored + queued + dead_lettered + duplicates + filtered + damaged."""
        found: Counter[str] = Counter()
        for lane in self._of(signal):
            found.update(self._balanced(lane))
        return dict(found)

    def _of(self, signal: str) -> list[str]:
        return [lane for lane, journal in self.all_journals.items() if journal.signal == signal]

    def _balanced(self, lane: str) -> dict[str, int]:
        journal, pipeline = self.all_journals[lane], self.all_pipelines[lane]
        flow = pipeline.flow
        with journal.accounting:
            accepted, resent = self._intake.stats.accepted(lane) if lane in SIGNALS else journal.accepted()
            return {
                "accepted": accepted + flow.replayed,
                "stored": flow.stored,
                "queued": journal.acknowledged_items - pipeline.settled_items,
                "dead_lettered": flow.dead_lettered,
                "duplicates": flow.duplicates + resent,
                "filtered": flow.filtered,
                "damaged": flow.damaged + journal.lost_items,
            }
