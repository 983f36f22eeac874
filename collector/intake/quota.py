"""How much a project may send: so much a second over time, and so much at once.

What a project has sent and not waited for yet is its debt: it grows by what is taken and shrinks by the rate, and more
is taken as long as it stays within the burst. A request that is larger than the burst is taken when there is no debt,
since it would never be otherwise, and waited for afterwards. So what is taken over time is exact, however it was cut.

Debts lie in a table of fixed size in memory that the collector and its workers share: a client that has one connection,
and so one worker, may send as much as one that is spread over all.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from collector.config import QuotaRules, QuotaSettings

BURST_S = 10.0
"""How much may come at once unless it is set, in seconds of the rate: exporters send every five seconds."""
MOST_PROJECTS = 1_024
"""Projects whose quotas are remembered."""
LONGEST_PROJECT = 256
"""Characters by which projects are told apart: names come from clients."""
_DEBT = struct.Struct("<16sddd")
"""Whose it is, items, bytes, and when that was, by the clock that all processes share."""
_WAYS = 8
"""Places in which the debt of a project may lie."""
_SETS = 512


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one project. Infinite: no bound."""

    items_per_s: float = math.inf
    items_burst: float = math.inf
    bytes_per_s: float = math.inf
    bytes_burst: float = math.inf

    @property
    def is_bound(self) -> bool:
        return not (math.isinf(self.items_per_s) and math.isinf(self.bytes_per_s))


@dataclass(frozen=True, slots=True)
class _Owed:
    """What one project owes, where that lies, and when it did."""

    place: int
    items: float
    size: float
    at: float

    def wait_s(self, quota: Quota, items: int, size: int) -> float:
        return max(
            _wait_s(self.items, items, quota.items_burst, quota.items_per_s),
            _wait_s(self.size, size, quota.bytes_burst, quota.bytes_per_s),
        )


class Debts:
    """What projects owe.

    Args:
        path: of a file that the processes share which open it; None: this process has it alone.
        clock: in seconds; the same in all of them.

    Raises: OSError.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        size = _DEBT.size * _WAYS * _SETS
        self._file = -1
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, size)
        self._table = mmap.mmap(self._file, size)

    def close(self) -> None:
        with self._lock:
            self._table.close()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def ask(self, project: bytes, quota: Quota, items: int, size: int) -> float:
        """In how many seconds a project may send so many items and bytes; 0.0: now.

        Args:
            project: a digest of 16 bytes.
        """
        with self._held():
            return self._owed(project, quota).wait_s(quota, items, size)

    def take(self, project: bytes, quota: Quota, items: int, size: int) -> float:
        """The same, and if it is now the project owes them."""
        with self._held():
            owed = self._owed(project, quota)
            if not (wait_s := owed.wait_s(quota, items, size)):
                self._write(project, quota, owed, items, size)
            return wait_s

    def add(self, project: bytes, quota: Quota, items: int, size: int) -> None:
        """Adds to what a project owes, whatever its quota is, or takes off what was not taken after all."""
        with self._held():
            self._write(project, quota, self._owed(project, quota), items, size)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            if self._file < 0:
                yield
                return
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _owed(self, project: bytes, quota: Quota) -> _Owed:
        """What a project owes by now."""
        place, items, size, then = self._find(project)
        now = self._clock()
        passed = max(0.0, now - then)
        return _Owed(
            place,
            max(0.0, items - passed * quota.items_per_s) if items else 0.0,
            max(0.0, size - passed * quota.bytes_per_s) if size else 0.0,
            now,
        )

    def _write(self, project: bytes, quota: Quota, owed: _Owed, items: int, size: int) -> None:
        owed_items = max(0.0, owed.items + items) if quota.items_per_s < math.inf else 0.0
        owed_bytes = max(0.0, owed.size + size) if quota.bytes_per_s < math.inf else 0.0
        _DEBT.pack_into(self._table, owed.place, project, owed_items, owed_bytes, owed.at)

    def _find(self, project: bytes) -> tuple[int, float, float, float]:
        """Where its debt lies or may lie, and the debt. The oldest of the places gives way to a new one: as names that
        clients make up must not take ever more memory, what is owed in it is forgotten."""
        first = int.from_bytes(project[:4], "little") % _SETS * _WAYS * _DEBT.size
        oldest_at, oldest = first, math.inf
        for place in range(first, first + _WAYS * _DEBT.size, _DEBT.size):
            whose, items, size, then = _DEBT.unpack_from(self._table, place)
            if whose == project:
                return place, items, size, then
            if then < oldest:
                oldest_at, oldest = place, then
        return oldest_at, 0.0, 0.0, 0.0


def _wait_s(owed: float, more: float, burst: float, rate: float) -> float:
    """For how long `more` has to wait; 0.0 if it need not."""
    if not more or not owed or owed + more <= burst:
        return 0.0
    return (owed + min(more, burst) - burst) / rate


@dataclass(frozen=True, slots=True)
class Account:
    """One project's quota and what it owes."""

    quota: Quota
    project: bytes
    debts: Debts

    def ask(self, items: int, size: int) -> float:
        """In how many seconds so many items and bytes may be sent; 0.0: now."""
        return self.debts.ask(self.project, self.quota, items, size)

    def take(self, items: int, size: int) -> float:
        """The same, and if it is now they count."""
        return self.debts.take(self.project, self.quota, items, size)

    def add(self, items: int, size: int) -> None:
        """Counts what is taken whatever the quota says; less than nothing for what was not taken after all."""
        self.debts.add(self.project, self.quota, items, size)


class Quotas:
    """The quota of each project."""

    def __init__(self, settings: QuotaSettings | None = None, debts: Debts | None = None) -> None:
        self._debts = debts or Debts()
        self.take_over(settings or QuotaSettings())

    def take_over(self, settings: QuotaSettings) -> None:
        """Others hold from now on; what is owed is owed. May be called from any thread."""
        known: dict[tuple[str, str], Account | None] | None = {} if _is_any_bound(settings) else None
        self._holding: tuple[QuotaSettings, dict[tuple[str, str], Account | None] | None] = settings, known

    def of(self, tenant: str, project: str) -> Account | None:
        """None if the project may send any number."""
        settings, known = self._holding
        if known is None:  # as nearly everywhere
            return None
        whose = tenant, project[:LONGEST_PROJECT]
        if whose in known:
            return known[whose]
        if len(known) >= MOST_PROJECTS:
            known.clear()
        quota = _quota(_rules_of(settings, project))
        digest = blake2b(repr(whose).encode(errors="replace"), digest_size=16).digest()
        account = known[whose] = Account(quota, digest, self._debts) if quota.is_bound else None
        return account


def _is_any_bound(settings: QuotaSettings) -> bool:
    return any(_quota(rules).is_bound for rules in (settings, *settings.projects.values()))


def _rules_of(settings: QuotaSettings, project: str) -> QuotaRules:
    return next((rules for name, rules in settings.projects.items() if fnmatchcase(project, name)), settings)


def _quota(rules: QuotaRules) -> Quota:
    items_per_s = rules.items_per_second or math.inf
    bytes_per_s = float(rules.bytes_per_second or math.inf)
    return Quota(
        items_per_s,
        rules.items_burst or max(1.0, items_per_s * BURST_S),
        bytes_per_s,
        rules.bytes_burst or bytes_per_s * BURST_S,
    )
