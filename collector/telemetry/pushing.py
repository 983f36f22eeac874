"""The collector's own metrics, pushed by OTLP to another collector or backend: what `/metrics` says, each interval.

What is there serves for it: the client that telemetry is passed on with, and prometheus_client's registry, turned into
OTLP's own classes. The OpenTelemetry SDK would be a second registry for the same numbers, and more to import and to
keep in memory. A thread of its own does it, which there is only while metrics are pushed: who is slow or away holds up
nobody. Nothing is sent again, as sums are cumulative: the next push says it all.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collector.config import ConfigError, OtlpTarget, PushedMetrics, Settings
from collector.doors.circles import own_door_of
from collector.outlets import otlp_outlet
from collector.telemetry.otelvariables import OwnSignal, named_target, resource_attributes
from sinks.base import Outlet, SinkError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

SETTING = "service.telemetry.metrics"
LAST_S = 5.0
"""Longest wait for the last push at the end."""


@dataclass(frozen=True, slots=True)
class Plan:
    target: OtlpTarget
    interval_s: float


class Pusher:
    """Args:
    collect: gives the metrics as they are now.
    version: of the collector.
    instance_id: of this running one.
    """

    def __init__(self, collect: Callable[[], Iterable[Metric]], version: str, instance_id: str) -> None:
        self._collect = collect
        self._version = version
        self._started_ns = time.time_ns()
        self._resource = resource_of(version, instance_id)
        self._plan: Plan | None = None
        self._running: _Pushing | None = None
        self.doors: Mapping[str, str | None] = {}
        """Where the collector itself listens, by the names of its doors."""

    def take_over(self, settings: Settings) -> None:
        """Pushes as these say from now on.

        Raises: ConfigError, and goes on as before.
        """
        plan = plan_of(settings.service.telemetry.metrics, self.doors)
        if plan == self._plan:
            return
        if self._running is not None:
            self._running.stop()
        self._plan, self._running = plan, None
        if plan is not None:
            self._running = _Pushing(plan, self._request)
            self._running.start()

    def close(self) -> None:
        """Pushes once more, and waits a moment for that."""
        if self._running is not None:
            self._running.stop(last=True)
            self._running.join(LAST_S)

    def _request(self) -> bytes:
        from collector.telemetry.families import request_of

        return request_of(
            self._collect(),
            self._resource,
            version=self._version,
            started_ns=self._started_ns,
            now_ns=time.time_ns(),
        )


def plan_of(settings: PushedMetrics, doors: Mapping[str, str | None]) -> Plan | None:
    """Where metrics are pushed, and how often; None if they are not.

    Raises: ConfigError: the target is not known, or one of these `doors`.
    """
    if not settings.endpoint:
        return None
    return Plan(target_of(SETTING, "metrics", settings, doors), settings.interval)


def target_of(
    setting: str, signal: OwnSignal, settings: OtlpTarget, doors: Mapping[str, str | None]
) -> OtlpTarget:
    """Where what the collector tells of itself goes, as a `setting` says or, with `env`, the environment.

    Raises: ConfigError: that is not known, or one of these `doors`.
    """
    target = settings
    if settings.endpoint == "env":
        try:
            target = named_target(os.environ, signal, settings)
        except ConfigError as error:
            raise ConfigError(f"{setting}.endpoint: {error}") from None
    try:
        name = own_door_of(target.endpoint, target.protocol, doors)
    except ValueError as error:
        raise ConfigError(f"{setting}.endpoint: {error}") from None
    if name:
        raise ConfigError(f"{setting}.endpoint: that is this collector itself ({name})")
    return target


def resource_of(version: str, instance_id: str) -> dict[str, str]:
    """What the collector is to who is told of it."""
    return {
        "service.name": "eddyline",
        "service.version": version,
        "service.instance.id": instance_id,
    } | resource_attributes(os.environ)


class _Pushing(threading.Thread):
    """Pushes to one target until it is stopped."""

    def __init__(self, plan: Plan, request: Callable[[], bytes]) -> None:
        super().__init__(name="metrics-push", daemon=True)
        self._outlet: Outlet = otlp_outlet(plan.target)
        self._interval_s = plan.interval_s
        self._request = request
        self._stopping = threading.Event()
        self._once_more = False
        self._is_failing = False

    def stop(self, *, last: bool = False) -> None:
        """Ends it, after a `last` push."""
        self._once_more = last
        self._stopping.set()
        if not last:
            self._outlet.close()

    def run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._push()
        if self._once_more:
            self._push()
        self._outlet.close()

    def _push(self) -> None:
        """Whether it works is said when that changes."""
        try:
            rejected = self._outlet.send("metrics", self._request(), "")
            if rejected.items:
                raise SinkError(f"{rejected.items} data points were rejected: {rejected.why}")
        except SinkError as error:
            if not self._is_failing:
                log.warning("own metrics can not be pushed: %s", error)
            self._is_failing = True
        except Exception:
            log.exception("own metrics can not be pushed")
            self._is_failing = True
        else:
            if self._is_failing:
                log.info("own metrics are pushed again")
            self._is_failing = False
