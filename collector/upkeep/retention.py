"""How long what is kept: a policy that is changed at run time, and the thread that holds to it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from collector.pipeline.stages import Derivation
from collector.telemetry.operations import Operations
from sinks.base import SinkError
from sinks.clickhouse import StoredSettings
from sinks.clickhouse.expiry import KEPT, LARGE, Expiry

log = logging.getLogger(__name__)

SETTING = "retention"
EVERY_S = 600.0
DAY_S = 86_400
MAX_DAYS = 3_650
LEAST_BYTES = 100 << 20
SLACK = 0.95
"""Where room is short, so much of the bound is kept: not every round has to delete."""


class PolicyError(ValueError):
    """What is wrong with a policy; `name` says of which part."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


@dataclass(frozen=True, slots=True)
class Policy:
    """Days from when a row was written; None: for ever. Whole days of UTC: what is older than that goes at midnight."""

    spans_days: int | None = 14
    logs_days: int | None = 30
    events_days: int | None = 30
    exchanges_days: int | None = 30
    runs_days: int | None = 180
    """Of runs and warnings."""
    max_bytes: int | None = None
    """Of all tables on the disk; when it is more, the oldest spans, logs, events and exchanges go."""

    def changed(self, document: Mapping[str, Any]) -> Policy:
        """The policy with these members changed.

        Raises: PolicyError.
        """
        known = asdict(self)
        for name, value in document.items():
            if name not in known:
                raise PolicyError(name, f"is not known; there are {', '.join(known)}")
            low, high = (LEAST_BYTES, 1 << 60) if name == "max_bytes" else (1, MAX_DAYS)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise PolicyError(name, "must be a whole number, or null for no bound")
            if value is not None and not low <= value <= high:
                raise PolicyError(name, f"must be between {low} and {high}, not {value}")
        return replace(self, **document)

    def days(self, kind: str) -> int | None:
        days: int | None = getattr(self, f"{kind}_days")
        return days


class Retention:
    """Deletes what has been kept long enough, in a thread of its own."""

    def __init__(
        self,
        expiry: Expiry,
        settings: StoredSettings,
        derivation: Derivation,
        operations: Operations,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._expiry = expiry
        self._settings = settings
        self._derivation = derivation
        self._clock_s = clock_s
        self._operation = operations.of("delete what was kept long enough")
        self._again = threading.Event()
        self._stopping = False
        self._holding = threading.Lock()
        self.last: dict[str, Any] = {}
        """What the last round did: `at_s`, `deleted` rows by kind, `error`."""
        self._thread = threading.Thread(target=self._work, name="retention")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._again.set()
        if self._thread.is_alive():
            self._thread.join()

    def policy(self) -> Policy:
        """The policy that holds. Raises: SinkError."""
        kept = self._settings.get(SETTING)
        try:
            return Policy().changed(kept.value) if kept is not None else Policy()
        except (PolicyError, AttributeError):
            log.error("the stored retention policy is not understood; the usual one holds")
            return Policy()

    def set(self, policy: Policy, by: str) -> None:
        """From now on this holds. Raises: SinkError."""
        self._settings.put(SETTING, asdict(policy), by)
        self._again.set()

    def size_bytes(self) -> int:
        """What all tables take on the disk. Raises: SinkError."""
        return self._expiry.size_bytes()

    def expected(self, policy: Policy) -> dict[str, int]:
        """Rows of each kind that the policy would delete now. Raises: SinkError."""
        return {
            kind: self._expiry.expired(kind, before) if before else 0
            for kind, before in self._bounds(policy).items()
        }

    def _bounds(self, policy: Policy) -> dict[str, int]:
        """Before when rows of each kind go, in seconds since 1970; 0: none go."""
        now_s = int(self._clock_s())
        bounds = {}
        for kind in KEPT:
            days = policy.days(kind)
            bounds[kind] = (now_s - days * DAY_S) // DAY_S * DAY_S if days is not None else 0
        if policy.max_bytes is not None:
            size = self._expiry.size_bytes()
            if size > policy.max_bytes:
                enough = self._expiry.enough_before(size - int(policy.max_bytes * SLACK), now_s)
                for kind in LARGE:
                    bounds[kind] = max(bounds[kind], enough)
        return bounds

    def hold(self) -> dict[str, int]:
        """Deletes what the policy does not keep; returns how many rows of each kind. Raises: SinkError."""
        with self._holding, self._operation.doing() as doing:
            deleted = {}
            for kind, before in self._bounds(self.policy()).items():
                totals = self._expiry.totals(before) if kind == "runs" and before else (0, 0, 0)
                with doing.step(f"delete {kind}"):
                    deleted[kind] = self._expiry.expire(kind, before) if before else 0
                if deleted[kind] and kind == "runs":
                    self._derivation.deleted((), *totals)
            doing.told |= deleted
            if any(deleted.values()):
                log.info(
                    "kept long enough: %s",
                    ", ".join(f"{count} {kind}" for kind, count in deleted.items() if count),
                )
            return deleted

    def _work(self) -> None:
        while not self._stopping:
            try:
                self.last = {"at_s": self._clock_s(), "deleted": self.hold(), "error": None}
            except SinkError as error:
                self.last = {"at_s": self._clock_s(), "deleted": {}, "error": str(error)}
                log.warning("retention is tried again later: %s", error)
            except Exception as error:
                self.last = {"at_s": self._clock_s(), "deleted": {}, "error": type(error).__name__}
                log.exception("retention is tried again later")
            self._again.wait(EVERY_S)
            self._again.clear()
