"""The routes below `/compat/looplens`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from collector.api.base import Api, Routes, RouteTable, caller_of, json_response, within_project
from collector.api.declaring import JSON, SSE, Answer, Route
from collector.api.looplens.documents import (
    Document,
    event_document,
    metrics_document,
    received_document,
    run_document,
    summary_document,
    warning_document,
)
from collector.api.looplens.taking import Owner, Taking
from collector.api.problems import Problem
from collector.api.queries import read_json
from collector.documents.render import rfc3339
from collector.doors.keys import Scope
from collector.importing.documents import NotImportableError
from collector.importing.looplens import trace_id_of
from collector.intake.intake import Submission
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import NotOtlpError, Signal, transcode
from collector.otlp.limits import TooManyError
from mappers.assemble import settle
from mappers.model import Run, Warning
from mappers.timeline import TimelineEntry, timeline
from sinks.clickhouse import RunFilter
from sinks.filter import ALWAYS

BASE = "/compat/looplens/api"
TAKES = frozenset({f"{BASE}/runs", f"{BASE}/events"})
"""What LoopLens' SDK sends to, without a key."""
MOST_RUNS = 1000
MOST_BYTES = 16 << 20
POLL_S = 0.5
RETRY_S = 1
OBJECT = dict[str, object]


class LoopLensRoutes(Routes):
    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        super().__init__(api, pool)
        self._taking = Taking()

    def table(self) -> RouteTable:
        run = f"{BASE}/runs/{{looplens_run_id}}"
        listed = list[OBJECT]
        return [
            Route("GET", f"{BASE}/health", self.looplens_health, OBJECT),
            Route("GET", f"{BASE}/runs", self.looplens_runs, listed),
            Route("GET", run, self.looplens_run, OBJECT),
            Route("GET", f"{run}/events", self.looplens_events, listed),
            Route("GET", f"{run}/warnings", self.looplens_warnings, listed),
            Route("GET", f"{run}/metrics", self.looplens_metrics, OBJECT),
            Route("GET", f"{run}/stream", self.looplens_stream, Answer(media=SSE), endless=True),
            *(
                Route(
                    "POST",
                    f"{BASE}/{name}",
                    endpoint,
                    Answer(OBJECT, status=201),
                    scope=Scope.INGEST,
                    problems=(400, 413, 415, 503),
                )
                for name, endpoint in (
                    ("runs", self.announce_looplens_run),
                    ("events", self.take_looplens_event),
                )
            ),
        ]

    # ------------------------------------------------------------------- read

    async def looplens_health(self, request: Request) -> Response:
        """As LoopLens says that it is there."""
        return json_response({"status": "healthy", "service": "eddyline", "version": self.api.status.version})

    async def looplens_runs(self, request: Request) -> Response:
        """The latest 1,000 runs, as a bare list."""
        where = within_project(request, ALWAYS)
        tenant, now_ns = caller_of(request).tenant, self.api.clock_ns()
        page = await self.read(
            self.api.reader.runs, RunFilter(where=where, tenant=tenant), MOST_RUNS, None, now_ns
        )
        return json_response([summary_document(run, settle(run, now_ns)) for run in page.runs])

    async def looplens_run(self, request: Request) -> Response:
        """A run, by our id or the one that its SDK gave it."""
        run = await self._run(request)
        return json_response(run_document(run, self._status(run)))

    async def looplens_events(self, request: Request) -> Response:
        """The run's timeline."""
        run = await self._run(request)
        entries = await self._entries(run)
        content = caller_of(request).may(Scope.CONTENT)
        return json_response(
            [event_document(entry, place, content=content) for place, entry in enumerate(entries, 1)]
        )

    async def looplens_warnings(self, request: Request) -> Response:
        """The run's warnings that stand."""
        return json_response(
            [warning_document(one) for one in await self._warnings(await self._run(request))]
        )

    async def looplens_metrics(self, request: Request) -> Response:
        """The run's numbers."""
        return json_response(await self._metrics(await self._run(request)))

    async def looplens_stream(self, request: Request) -> Response:
        """New events of the run, its warnings and numbers, twice a second."""
        content = caller_of(request).may(Scope.CONTENT)

        async def messages() -> AsyncIterator[bytes]:
            told: set[str] = set()
            warned = -1
            while True:
                message = b": waiting\n\n"
                try:
                    run = await self._run(request)
                except Problem:
                    run = None
                if run is not None:
                    entries, warnings = await self._entries(run), await self._warnings(run)
                    events = [
                        event_document(entry, place, content=content)
                        for place, entry in enumerate(entries, 1)
                        if entry.event_id not in told
                    ]
                    message = b": keepalive\n\n"
                    if events or len(warnings) != warned:
                        told |= {event["event_id"] for event in events}
                        warned = len(warnings)
                        document = {
                            "type": "update",
                            "events": events,
                            "metrics": metrics_document(run, self._status(run), entries, warnings),
                            "warnings": [warning_document(one) for one in warnings],
                            "status": run_document(run, self._status(run))["status"],
                        }
                        message = b"data: %s\n\n" % orjson.dumps(document)
                yield message
                await asyncio.sleep(POLL_S)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(messages(), media_type=SSE, headers=headers)

    async def _run(self, request: Request) -> Run:
        request.path_params["run_id"] = trace_id_of(request.path_params["looplens_run_id"])
        return await self.run_of(request)

    async def _entries(self, run: Run) -> list[TimelineEntry]:
        return list(timeline(run, await self.read(self.api.reader.events, run)))

    async def _warnings(self, run: Run) -> list[Warning]:
        return list(await self.read(self.api.reader.warnings, run.tenant, run.run_id))

    async def _metrics(self, run: Run) -> Document:
        return metrics_document(run, self._status(run), await self._entries(run), await self._warnings(run))

    def _status(self, run: Run) -> str:
        return settle(run, self.api.clock_ns())

    # ------------------------------------------------------------------- take

    async def announce_looplens_run(self, request: Request) -> Response:
        """A run begins, as LoopLens' SDK says it: `id`, `name`, `project`. Its events make it a run here."""
        body = await _body(request)
        run_id = body.get("id") or f"run_{token_hex(6)}"
        if not isinstance(run_id, str):
            raise Problem(400, "`id` is no text.")
        name, project = (
            value if isinstance(value, str) else "" for value in (body.get("name"), body.get("project"))
        )
        self._taking.announce(_owner(request), run_id, name, project)
        return json_response(
            {
                "id": run_id,
                "name": name or None,
                "project": project or "default",
                "status": "running",
                "started_at": rfc3339(self.api.clock_ns()),
                "ended_at": None,
                "total_cost": 0,
                "total_tokens": 0,
                "metadata": body.get("metadata"),
            },
            201,
        )

    async def take_looplens_event(self, request: Request) -> Response:
        """One event of LoopLens' SDK; with the end of a call its span is stored."""
        event = await _body(request)
        event.setdefault("event_id", f"evt_{token_hex(6)}")
        if event.get("timestamp") is None:
            event["timestamp"] = rfc3339(self.api.clock_ns())
        owner = _owner(request)
        try:
            made = self._taking.take(owner, event)
            if made is not None:
                await self._store(owner, *made)
        except (NotImportableError, NotOtlpError, TooManyError) as error:
            raise Problem(400, f"This is no event of LoopLens: {error}.") from None
        sequence = event.get("sequence")
        if not isinstance(sequence, int):
            sequence = self._taking.sequence(owner, event["run_id"])
        return json_response(received_document(event, sequence), 201)

    async def _store(self, owner: Owner, document: Document, undo: Callable[[], None]) -> None:
        """Raises: NotOtlpError, TooManyError; Problem (503)."""
        intake = self.api.intake
        if intake is None:
            raise Problem(404, "Nothing is taken here.")
        body = transcode(Signal.TRACES, orjson.dumps(document), intake.limits).body
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()

        def done(outcome: Outcome) -> None:
            loop.call_soon_threadsafe(ended.set_result, outcome)

        tenant, project = owner
        intake.take(Submission(Signal.TRACES, body, "looplens", tenant=tenant, project=project), done)
        outcome = await asyncio.shield(ended)
        if outcome.verdict is not Verdict.ACCEPTED:
            undo()
            raise Problem(503, f"{outcome.message}.", headers={"Retry-After": str(RETRY_S)})


def _owner(request: Request) -> Owner:
    caller = caller_of(request)
    return caller.tenant, caller.project


async def _body(request: Request) -> dict[str, Any]:
    """Raises: Problem (413, 415, 400). Only JSON is taken that says so: pages elsewhere can not send that."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Problem(415, "Send application/json.")
    return await read_json(request, MOST_BYTES)
