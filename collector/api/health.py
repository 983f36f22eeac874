"""How the collector itself is."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NotRequired

from pydantic import with_config
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Api, Routes, RouteTable, caller_of, json_response
from collector.api.declaring import TEXT, Answer, Route

TOTALS_S = 1.0
MOST_TOTALS = 1000
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NOT_ALIVE = Answer(status=503, media=TEXT, purpose="Only a restart can help; the body says why.")
NOT_READY = Answer(status=503, media=TEXT, purpose="Not ready; the body says what is not.")


class Stored(TypedDict):
    """What is stored, each counted once."""

    spans: int
    events: int
    runs: int


@with_config(extra="allow")
class Flow(TypedDict):
    """Of one signal, since the process started."""

    accepted: int
    stored: int
    queued: int
    dead_lettered: int
    duplicates: int
    filtered: int


@with_config(extra="allow")
class CollectorStatus(TypedDict):
    """How the collector is; each part adds what it counts. Keys see what is stored of their own alone."""

    version: str
    uptime_s: float
    stored: Stored
    pipeline: NotRequired[Flow]


class HealthRoutes(Routes):
    """Health for probes, without a token."""

    def table(self) -> RouteTable:
        return [
            Route(
                "GET", "/healthz", self.healthz, (Answer(media=TEXT), NOT_ALIVE), scope=None, parameters=None
            ),
            Route(
                "GET", "/readyz", self.readyz, (Answer(media=TEXT), NOT_READY), scope=None, parameters=None
            ),
        ]

    async def healthz(self, request: Request) -> Response:
        """Liveness: the process answers, and its journals get to the disk."""
        dying = self.api.health.dying()
        return Response("\n".join(dying or ["ok"]) + "\n", 503 if dying else 200, media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Readiness: what is sent now is taken."""
        failing = self.api.health.failing() if self.api.health.ready else ["draining or starting"]
        return Response(
            "\n".join(failing or ["ready"]) + "\n", 503 if failing else 200, media_type="text/plain"
        )


class StatusRoutes(Routes):
    """What the collector has done. A key learns what is stored of its own tenant and project, the API token all."""

    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        super().__init__(api, pool)
        self._totals: dict[tuple[str, str], tuple[float, tuple[int, int, int]]] = {}

    def table(self) -> RouteTable:
        return [Route("GET", "/api/v1/status", self.status, CollectorStatus)]

    async def status(self, request: Request) -> Response:
        """What was received, what is stored and what is on its way; for a key, what is stored of its own."""
        caller = caller_of(request)
        if caller.is_owner:
            await self.renewed()
            return json_response(self.api.status.document())
        stored = await self.read(self._stored, caller.tenant, caller.project)
        counts = dict(zip(("spans", "events", "runs"), stored, strict=True))
        return json_response(self.api.status.head() | {"stored": counts})

    def _stored(self, tenant: str, project: str) -> tuple[int, int, int]:
        """Spans, events and runs, at most `TOTALS_S` old: pages ask each second, and all runs are gone through."""
        now = time.monotonic()
        counted_at, found = self._totals.get((tenant, project), (0.0, (0, 0, 0)))
        if not counted_at or now - counted_at > TOTALS_S:
            found = self.api.reader.totals(tenant, project)
            if len(self._totals) >= MOST_TOTALS:
                self._totals.clear()
            self._totals[tenant, project] = now, found
        return found


class AdminRoutes(Routes):
    """What only the admin port has."""

    def table(self) -> RouteTable:
        return [
            Route("GET", "/metrics", self.metrics, Answer(media=TEXT), scope=None, parameters=None),
            Route("GET", "/status", self.components, dict[str, object], scope=None, parameters=None),
        ]

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        await self.renewed()
        text = await self.read(self.api.metrics)
        return Response(text, headers={"Content-Type": METRICS_TYPE})

    async def components(self, request: Request) -> Response:
        """How each part is, in the words of the OpenTelemetry collector."""
        return json_response(self.api.components())
