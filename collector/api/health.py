"""How the collector itself is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from collector.api.base import Routes, RouteTable, json_response

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthRoutes(Routes):
    """Health for probes, without a token."""

    def table(self) -> RouteTable:
        return [("GET", "/healthz", self.healthz), ("GET", "/readyz", self.readyz)]

    async def healthz(self, request: Request) -> Response:
        """Liveness: the process answers."""
        return Response("ok\n", media_type="text/plain")

    async def readyz(self, request: Request) -> Response:
        """Readiness: what is sent now is taken."""
        failing = self.api.health.failing() if self.api.health.ready else ["draining or starting"]
        return Response(
            "\n".join(failing or ["ready"]) + "\n", 503 if failing else 200, media_type="text/plain"
        )


class StatusRoutes(Routes):
    def table(self) -> RouteTable:
        return [("GET", "/api/v1/status", self.status)]

    async def status(self, request: Request) -> Response:
        """What was received, what is stored and what is on its way."""
        self.parameters(request)
        return json_response(self.api.status.document())


class AdminRoutes(Routes):
    """What only the admin port has."""

    def table(self) -> RouteTable:
        return [("GET", "/metrics", self.metrics), ("GET", "/status", self.components)]

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        text = await self.read(self.api.metrics)
        return Response(text, headers={"Content-Type": METRICS_TYPE})

    async def components(self, request: Request) -> Response:
        """How each part is, in the words of the OpenTelemetry collector."""
        return json_response(self.api.components())
