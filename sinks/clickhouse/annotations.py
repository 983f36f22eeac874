"""What people say of runs: tags, a note, and whether to keep them for ever.

They are few, so that all are in memory: showing them with a run costs no query. Filters ask the table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from mappers.model import Run
from sinks.base import RunKey
from sinks.clickhouse.columns import FLAG, TEXT, TEXTS, arrow_array
from sinks.clickhouse.store import Store

LOOK_EVERY_S = 2.0
"""How old what others wrote may be."""


@dataclass(frozen=True, slots=True)
class Annotation:
    tags: tuple[str, ...] = ()
    note: str = ""
    pinned: bool = False
    """It is kept, whatever its age."""
    updated_by: str = ""
    updated_at: datetime | None = None


NONE = Annotation()


@dataclass(slots=True, kw_only=True)
class StoredRun(Run):
    """A run with what people say of it, which is no part of its row."""

    said: Annotation

    @classmethod
    def of(cls, run: Run, said: Annotation) -> StoredRun:
        return cls(**{name: getattr(run, name) for name in _OF_RUN}, said=said)


_OF_RUN = tuple(field.name for field in fields(Run))


class Annotations:
    """Those of one store. May be used from any number of threads. Raises: RetryableError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[RunKey, Annotation] = {}
        self._until = datetime.fromtimestamp(0, UTC)
        self._looked_at = float("-inf")
        self._lock = threading.Lock()

    def of(self, key: RunKey) -> Annotation:
        """What is said of a run; an empty one if nothing is."""
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._look()
        return self._known.get(key, NONE)

    def have_tags(self, tenant: str) -> bool:
        """Whether people tagged any run of the tenant."""
        self.of((tenant, ""))
        with self._lock:
            return any(said.tags for (whose, _), said in self._known.items() if whose == tenant)

    def put(self, key: RunKey, annotation: Annotation) -> Annotation:
        """Says it; what was said before is replaced."""
        self._store.insert_latest(
            "annotations",
            {
                "Tenant": arrow_array(TEXT, [key[0]]),
                "RunId": arrow_array(TEXT, [key[1]]),
                "Tags": arrow_array(TEXTS, [list(annotation.tags)]),
                "Note": arrow_array(TEXT, [annotation.note]),
                "Pinned": arrow_array(FLAG, [annotation.pinned]),
                "UpdatedBy": arrow_array(TEXT, [annotation.updated_by]),
            },
            "UpdatedAt",
        )
        self._look()
        return self._known[key]

    def forget(self, keys: Iterable[RunKey]) -> None:
        """Runs that are no more."""
        with self._lock:
            for key in keys:
                self._known.pop(key, None)

    def _look(self) -> None:
        """Reads what was written since then."""
        with self._lock:
            self._looked_at = time.monotonic()
            rows = self._store.query(
                """
                SELECT Tenant, RunId, Tags, Note, Pinned, UpdatedBy, UpdatedAt FROM otel.annotations
                WHERE UpdatedAt >= fromUnixTimestamp64Micro({since:Int64}, 'UTC') ORDER BY UpdatedAt
                """,
                {"since": int(self._until.timestamp()) * 10**6 + self._until.microsecond},
            )
            for tenant, run_id, tags, note, pinned, updated_by, updated_at in rows:
                updated_at = updated_at.replace(tzinfo=UTC)
                self._known[tenant, run_id] = Annotation(tuple(tags), note, pinned, updated_by, updated_at)
                self._until = max(self._until, updated_at)
