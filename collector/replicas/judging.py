"""What stands of runs at which others look."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Protocol

from collector.loops.member import RunKey
from collector.loops.sessions import AtHand
from collector.loops.watch import Watched
from mappers.loops.health import judge
from mappers.model import Event, Run, Warning


class WarningStore(Protocol):
    """The part of a store's reader that judging needs."""

    def standing(self, tenant: str, run_ids: Sequence[str]) -> Sequence[Warning]:
        """Stored warnings of these runs that are not retracted."""


class Judges:
    """Fills health and counts of runs by the warnings that are stored of them. In the place of a `LoopWatch` where
    several collectors share a store, and none has all spans of a run."""

    def __init__(self, store: WarningStore) -> None:
        self._store = store

    def watch(
        self, assembled: Sequence[tuple[Run, Sequence[Event]]], new: Set[RunKey], at_hand: AtHand
    ) -> Watched:
        """Says nothing new; see `Watch`."""
        known: dict[str, list[str]] = {}
        for run, _ in assembled:
            if (run.tenant, run.run_id) not in new:
                known.setdefault(run.tenant, []).append(run.run_id)
        standing: dict[RunKey, list[Warning]] = {}
        for tenant, run_ids in known.items():
            for warning in self._store.standing(tenant, run_ids):
                standing.setdefault((tenant, warning.run_id), []).append(warning)
        for run, _ in assembled:
            judge(run, standing.get((run.tenant, run.run_id), ()))
        return Watched()
