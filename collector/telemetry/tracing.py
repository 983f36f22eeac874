"""The collector's own traces, sent by OTLP to another collector or backend: what `operations` note anyway, as spans.

As with own metrics (`pushing`), what is there serves for it: the client that telemetry is passed on with, and OTLP's
own classes. The OpenTelemetry SDK would be a second record of the same, with clocks and locks of its own on every way.
While there is nobody to tell, nothing is kept and nothing is asked but one number for each operation.

What waits to be sent is bounded, and a thread of its own sends it: who is slow or away costs these spans, and holds up
nobody.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from collector.telemetry.operations import Ended, Kind, Operations
from sinks.base import BusyError, PermanentError, SinkError

if TYPE_CHECKING:
    from collector.config import OtlpTarget, PushedTraces, Settings
    from sinks.base import Outlet

log = logging.getLogger(__name__)

SETTING = "service.telemetry.traces"
AT_A_TIME = 256
"""Operations in a request."""
MOST_WAITING = 2048
"""Operations that wait to be sent; of more, the newest are lost."""
LAST_S = 3.0
"""Longest wait for the last ones to be sent at the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    target: OtlpTarget
    interval_s: float
    shares: Mapping[Kind, float]
    """How many of each kind of operation are told."""


class Tracer:
    """Sends what becomes of operations.

    Args:
        process: which of the collector's processes this is.
        instance_id: the same for all of these.
    """

    def __init__(self, operations: Operations, process: str, instance_id: str) -> None:
        self._operations = operations
        self._process = process
        self._instance_id = instance_id
        self._plan: Plan | None = None
        self._running: _Sending | None = None
        self.counted = Counted()
        self.doors: Mapping[str, str | None] = {}
        """Where the collector itself listens, by the names of its doors."""
        self.others: Callable[[], Iterable[Counted]] = tuple
        """What other processes of the collector have counted."""

    def take_over(self, settings: Settings) -> None:
        """Sends as these say from now on.

        Raises: ConfigError, and goes on as before.
        """
        plan = plan_of(settings.service.telemetry.traces, self.doors)
        if plan == self._plan:
            return
        before, self._plan, self._running = self._running, plan, None
        if plan is None:
            self._operations.tell_on(lambda ended: None, {})
        else:
            self._running = _Sending(plan, self._resource(), self.counted)
            self._running.start()
            self._operations.tell_on(self._running.tell, plan.shares)
        if before is not None:
            before.stop()

    def close(self) -> None:
        """Sends what waits, and waits a moment for that."""
        if self._running is not None:
            self._operations.tell_on(lambda ended: None, {})
            self._running.stop()
            self._running.join(LAST_S)

    def document(self) -> dict[str, Any] | None:
        """What became of operations that were to be told, for the status; None while none are."""
        running, counted = self._running, self._all()
        if running is None:
            return None
        return self.fates() | {"waiting": len(running.waiting), "last_error": counted.last_error or None}

    def fates(self) -> dict[str, int]:
        """How many operations came to what end, of all processes."""
        counted = self._all()
        return {"sent": counted.sent, "lost": counted.lost}

    def _all(self) -> Counted:
        return sum(self.others(), self.counted)

    def _resource(self) -> dict[str, Any]:
        from importlib.metadata import version

        from collector.telemetry.pushing import resource_of

        return resource_of(version("eddyline"), self._instance_id) | {
            "process.pid": os.getpid(),
            "eddyline.process": self._process,
        }


@dataclass(slots=True)
class Counted:
    """What became of operations that were to be told."""

    sent: int = 0
    lost: int = 0
    """There was no room for them, or the target would not take them."""
    last_error: str = ""

    def __add__(self, other: Counted) -> Counted:
        """Of two processes."""
        return Counted(self.sent + other.sent, self.lost + other.lost, self.last_error or other.last_error)


def plan_of(settings: PushedTraces, doors: Mapping[str, str | None]) -> Plan | None:
    """Where own spans are sent, which and how often; None if they are not.

    Raises: ConfigError: the target is not known, or one of these `doors`.
    """
    if not settings.endpoint:
        return None
    from collector.telemetry.otelvariables import sample_ratio
    from collector.telemetry.pushing import target_of

    target = target_of(SETTING, "traces", settings, doors)
    ratio = settings.sample_ratio
    if settings.endpoint == "env":
        ratio = sample_ratio(os.environ, ratio)
    return Plan(
        target,
        settings.interval,
        {Kind.WORK: ratio, Kind.ANSWER: ratio, Kind.REQUEST: min(ratio, settings.requests_ratio)},
    )


class _Sending(threading.Thread):
    """Sends to one target until it is stopped, and then once more what waits."""

    def __init__(self, plan: Plan, resource: Mapping[str, Any], counted: Counted) -> None:
        super().__init__(name="traces-push", daemon=True)
        from collector.outlets import otlp_outlet

        self._outlet: Outlet = otlp_outlet(plan.target)
        self._interval_s = plan.interval_s
        self._resource = resource
        self._counted = counted
        self.waiting: deque[Ended] = deque()
        self._enough = threading.Event()
        """Set when there is enough for a request, and when it is to stop."""
        self._stopping = False
        self._is_failing = False

    def tell(self, ended: Ended) -> None:
        """From any thread."""
        if len(self.waiting) >= MOST_WAITING:
            self._counted.lost += 1
            return
        self.waiting.append(ended)
        if len(self.waiting) >= AT_A_TIME:
            self._enough.set()

    def stop(self) -> None:
        self._stopping = True
        self._enough.set()

    def run(self) -> None:
        leave_alone_s = 0.0
        while not self._stopping:
            if leave_alone_s:
                self._rest(leave_alone_s)
            else:
                self._enough.wait(self._interval_s)
            self._enough.clear()
            if not self._stopping:
                leave_alone_s = self._send_all()
        self._send_all()
        self._outlet.close()

    def _rest(self, seconds: float) -> None:
        """However much there is to be sent by then."""
        deadline = time.monotonic() + seconds
        while not self._stopping and (left_s := deadline - time.monotonic()) > 0:
            self._enough.wait(left_s)
            if not self._stopping:
                self._enough.clear()

    def _send_all(self) -> float:
        """Sends all that waits; returns for how many seconds the target is to be left alone, because it did not take
        some: that goes on waiting."""
        while self.waiting:
            some = list(islice(self.waiting, AT_A_TIME))
            try:
                self._send(some)
            except PermanentError as error:
                self._failed(error)
                self._counted.lost += len(some)
            except SinkError as error:
                self._failed(error)
                return max(self._interval_s, error.after_s if isinstance(error, BusyError) else 0.0)
            except Exception as error:
                log.exception("own traces can not be sent")
                self._counted.last_error = type(error).__name__
                self._counted.lost += len(some)
            else:
                self._counted.sent += len(some)
            for _ in some:
                self.waiting.popleft()
        return 0.0

    def _send(self, some: Sequence[Ended]) -> None:
        """Raises: SinkError."""
        from collector.telemetry.ownspans import request_of

        version = str(self._resource["service.version"])
        rejected = self._outlet.send("traces", request_of(some, self._resource, version=version), "")
        if rejected.items:
            raise PermanentError(f"{rejected.items} spans were rejected: {rejected.why}")
        if self._is_failing:
            log.info("own traces are sent again")
        self._is_failing, self._counted.last_error = False, ""

    def _failed(self, error: SinkError) -> None:
        """That it does not work is said when that changes."""
        self._counted.last_error = str(error)
        if not self._is_failing:
            log.warning("own traces can not be sent: %s", error)
        self._is_failing = True
