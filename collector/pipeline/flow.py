"""What became of the items of one signal since this process started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Flow:
    """Spans, or log records. Each one that was read from the journal is stored, a duplicate, filtered,
    dead-lettered or damaged; what was not read yet is queued."""

    replayed: int = 0
    """Acknowledged by an earlier process and not stored by it."""
    stored: int = 0
    duplicates: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    damaged: int = 0
    """In records of the journal that can not be read, or are gone."""
