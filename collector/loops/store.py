"""The part of a store's reader that watching needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mappers.model import Event, Run, Warning


class LoopStore(Protocol):
    def texts_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[tuple[str, str, int], tuple[str, str]]:
        """(input, output) of stored tool and model calls by (run id, span id, seq)."""

    def warnings_of(self, tenant: str, threads: Sequence[str]) -> Sequence[Warning]:
        """Stored warnings of these threads that are not retracted."""

    def session_runs(
        self, tenant: str, sessions: Sequence[str], since_ns: int, limit: int
    ) -> Mapping[tuple[str, str], Sequence[tuple[str, int]]]:
        """(id, number of spans) of the latest runs of sessions that began since then, the latest first, by (project,
        session id). Set-ups and duplicates are left out."""

    def runs_by_id(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Run]:
        """Runs as they were last stored, by id; those that are not are left out."""

    def events_of(self, tenant: str, run_ids: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """Stored events by run id."""
