"""Events by their id alone, for who does not know the run: it is looked up, and answered as for the run's event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from collector.api.base import RUN, Api, Routes, RouteTable, caller_of
from collector.api.contents import ContentRoutes
from collector.api.declaring import Endpoint
from collector.api.events import EventRoutes
from collector.api.problems import Problem
from collector.api.raw import RawRoutes

OF_A_RUN = RUN + "/events/{event_id}"
ALONE = "/api/v1/events/{event_id}"


class EventIdRoutes(Routes):
    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        super().__init__(api, pool)
        self._parts = [part(api, pool) for part in (EventRoutes, ContentRoutes, RawRoutes)]

    def table(self) -> RouteTable:
        return [
            replace(
                route,
                path=ALONE + route.path.removeprefix(OF_A_RUN),
                endpoint=self._found(route.endpoint),
                problems=(*route.problems, 409, 410),
            )
            for part in self._parts
            for route in part.table()
            if route.path.startswith(OF_A_RUN)
        ]

    def _found(self, endpoint: Endpoint) -> Endpoint:
        async def of_its_run(request: Request) -> Response:
            run_id = await self._run_id(request)
            request.scope["path_params"] = {**request.path_params, "run_id": run_id}
            return await endpoint(request)

        of_its_run.__name__ = f"{endpoint.__name__}_by_id"
        of_its_run.__doc__ = endpoint.__doc__
        return of_its_run

    async def _run_id(self, request: Request) -> str:
        event_id: str = request.path_params["event_id"]
        name, _, rest = event_id.partition(".")
        if rest.startswith("run."):
            return name
        caller = caller_of(request)
        found = await self.read(self.api.reader.runs_of_span, caller.tenant, caller.project, name.lower())
        if not found:
            raise Problem(404, f"There is no event {event_id!r}.")
        if len(found) > 1:
            raise Problem(
                409, f"Several runs have an event {event_id!r}: {', '.join(found)}. Ask for one run's."
            )
        return found[0]
