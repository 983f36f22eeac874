"""Nothing is lost on the way: what was accepted is stored, queued, or counted as something else, at any moment.

Each number is counted where it happens: accepted at the doors, queued from positions in the journal, stored and
duplicates by the derivation, dead-lettered where letters are written. None is computed as the rest.
"""

from __future__ import annotations

from typing import Any

from collector.intake import Intake
from collector.journal import Journal
from collector.pipeline import Pipeline


def balanced(intake: Intake, journal: Journal, pipeline: Pipeline[Any]) -> dict[str, int]:
    """Items of one signal since this process started, replayed ones included:
    accepted = stored + queued + dead_lettered + duplicates + filtered + damaged."""
    flow = pipeline.flow
    with journal.accounting:
        accepted, resent = intake.stats.accepted(journal.directory.name)
        return {
            "accepted": accepted + flow.replayed,
            "stored": flow.stored,
            "queued": journal.acknowledged_items - pipeline.settled_items,
            "dead_lettered": flow.dead_lettered,
            "duplicates": flow.duplicates + resent,
            "filtered": flow.filtered,
            "damaged": flow.damaged + journal.lost_items,
        }
