"""What the routes share: what they answer from, how they read, and who asks."""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from collector.api.declaring import Route
from collector.api.problems import Problem
from collector.api.trace_ids import trace_id_of
from collector.api.transfer import FINAL
from collector.config import RedactionSettings, Settings
from collector.doors.gate import Caller, forbidden
from collector.doors.keys import Keys, Scope
from collector.intake.intake import Intake
from collector.live import Live
from collector.pipeline.redaction import ProjectRules, Redaction
from collector.pipeline.tombstones import Tombstones
from collector.proxy.plugins import PluginControl
from collector.tap import Taps
from collector.telemetry.operations import Operations
from collector.telemetry.telemetry import Health, Status
from collector.upkeep.erasure import Erasures
from collector.upkeep.jobs import Jobs
from collector.upkeep.retention import Retention
from mappers.model import Run, RunStatus
from mappers.normalize import Normalizer
from sinks.clickhouse import Exchanges, Reader
from sinks.filter import ATTRIBUTE_PREFIX, Compare, Condition, Every, fields_of

if TYPE_CHECKING:
    from collector.status.inspection import Inspection

Result = TypeVar("Result")
RouteTable = list[Route]

RUN = "/api/v1/runs/{run_id}"
READERS = 4
"""Queries answered at a time."""
_BEGINS_ID = re.compile(r"[0-9a-f]{4,31}", re.IGNORECASE)


@dataclass(slots=True)
class Api:
    """What the routes answer from."""

    reader: Reader
    status: Status
    health: Health
    clock_ns: Callable[[], int] = time.time_ns
    normalizer: Callable[[], Normalizer] = Normalizer
    """Makes one that reads as those of the pipelines do."""
    settings: Callable[[], Settings] | None = None
    """The configuration that holds."""
    keys: Keys | None = None
    intake: Intake | None = None
    renew: Callable[[], None] | None = None
    """Has other processes tell what they did until now, where there are any."""
    erasures: Erasures | None = None
    retention: Retention | None = None
    jobs: Jobs | None = None
    tombstones: Tombstones = field(default_factory=Tombstones)
    metrics: Callable[[], bytes] = bytes
    """The text for Prometheus."""
    components: Callable[[], dict[str, Any]] = dict
    """How each part is."""
    exchanges: Exchanges | None = None
    """Calls that the proxy relayed."""
    plugins: PluginControl | None = None
    """Of the proxy."""
    taps: Taps = field(default_factory=Taps)
    operations: Operations = field(default_factory=Operations)
    """What the collector was busy with of late."""
    inspection: Inspection | None = None
    live: Live = field(default_factory=Live)
    redaction: Callable[[str], Redaction] = lambda signal: Redaction(ProjectRules(RedactionSettings()), ())
    """Makes one that redacts a signal as its pipeline does."""


class Routes(ABC):
    """A part of the API.

    Args:
        pool: where queries run.
    """

    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        self.api = api
        self._pool = pool

    @abstractmethod
    def table(self) -> RouteTable:
        """Every route of this part."""

    async def read(self, query: Callable[..., Result], *args: Any) -> Result:
        """Runs a query beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: query(*args))

    async def renewed(self) -> None:
        """Returns when what other processes of this collector did until now is known here."""
        if self.api.renew is not None:
            await asyncio.to_thread(self.api.renew)

    async def run_of(self, request: Request) -> Run:
        run_id = trace_id_of(request.path_params["run_id"])
        caller = caller_of(request)
        run = await self.read(self.api.reader.run, caller.tenant, run_id)
        if (caller.tenant, run_id) in self.api.tombstones:
            raise Problem(410, f"The run {run_id} was deleted.")
        if run is None or caller.project not in ("", run.project):
            written = request.path_params["run_id"]
            part = (
                f"; `/api/v1/runs?id={written}*` finds what begins so"
                if _BEGINS_ID.fullmatch(written)
                else ""
            )
            raise Problem(
                404, f"There is no run {written!r}. A run's id is its trace id, 32 hex digits{part}."
            )
        request.scope[FINAL] = run.status in (RunStatus.COMPLETED, RunStatus.FAILED)
        return run


def json_response(document: Any, status: int = 200) -> Response:
    return Response(
        orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def caller_of(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller


def need_content(request: Request) -> None:
    """Raises: Problem (403) if the caller may not see inputs, outputs and attributes."""
    if not caller_of(request).may(Scope.CONTENT):
        raise Problem(403, f"{forbidden(Scope.CONTENT).capitalize()}.")


def within_project(request: Request, where: Condition) -> Condition:
    """What is asked for, within the caller's project if they have only one.

    Raises: Problem (403) if it looks into what was said, which can be found out letter by letter in this way, and the
    caller may not see that.
    """
    if any(name == "text" or name.startswith(ATTRIBUTE_PREFIX) for name in fields_of(where)):
        need_content(request)
    project = caller_of(request).project
    return Every([Compare("project", "=", project), where]) if project else where
