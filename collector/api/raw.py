"""What stands behind one event: the spans, log records or HTTP exchange that it was made of, as received."""

from __future__ import annotations

from typing import Any, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, caller_of, json_response
from collector.api.declaring import SSE, TEXT, Answer, Route, parameters_of
from collector.api.events import entry_with_events
from collector.api.exchange_documents import Exchange, exchange_document
from collector.api.exchange_forms import Har, as_curl, as_har
from collector.api.exchanges import PACE, played
from collector.api.parameters import Parameter
from collector.api.problems import Problem
from collector.api.spans import Mapping, explained
from collector.documents.render import record_document, span_document
from collector.doors.keys import Scope
from collector.exporting.otlp import requests
from collector.understanding.mapping import stored_record
from mappers.model import Event, Run
from mappers.records import RecordReader
from sinks.clickhouse.exchanges import StoredExchange

FORMATS = ("otlp", "http", "curl", "har")
_FORMAT = Parameter(
    "format",
    "`otlp`: spans and log records as OTLP/JSON; of calls that the proxy relayed also `http`, `curl` (the key is a"
    " variable's) and `har`",
    choices=FORMATS,
    default="otlp",
)


class Otlp(TypedDict):
    """OTLP/JSON: a request of traces, of logs, or both side by side, as `eddyline import` takes it."""

    resourceSpans: NotRequired[list[dict[str, Any]]]
    resourceLogs: NotRequired[list[dict[str, Any]]]


class RawRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                RUN + "/events/{event_id}/raw",
                self.raw,
                (
                    Answer(Otlp | Exchange | Har),
                    Answer(media=TEXT, purpose="With `format=curl`."),
                ),
                scope=Scope.CONTENT,
                parameters=(_FORMAT,),
            ),
            Route(
                "GET",
                RUN + "/events/{event_id}/replay",
                self.replay_event,
                Answer(media=SSE),
                scope=Scope.CONTENT,
                parameters=PACE,
            ),
            Route(
                "GET",
                RUN + "/events/{event_id}/mapping",
                self.event_mapping,
                Mapping,
                scope=Scope.CONTENT,
            ),
        ]

    async def raw(self, request: Request) -> Response:
        """What an event was made of, as it was received, secrets masked: OTLP, or the HTTP exchange."""
        form = parameters_of(request).choice("format")
        run = await self.run_of(request)
        event = await self.read(self._event, run, request.path_params["event_id"])
        if form == "otlp":
            return json_response(await self.read(self._otlp, run, event))
        exchange = await self.read(self._exchange, run, event, caller_of(request).project)
        if form == "curl":
            return Response(as_curl(exchange), media_type=TEXT, headers={"Cache-Control": "no-store"})
        if form == "har":
            return json_response(as_har(exchange, self.api.status.version))
        return json_response(exchange_document(exchange, chunks=True))

    async def replay_event(self, request: Request) -> Response:
        """The streamed answer that an event tells of, sent again as the proxy saw it come."""
        parameters = parameters_of(request)
        run = await self.run_of(request)
        event = await self.read(self._event, run, request.path_params["event_id"])
        return played(await self.read(self._exchange, run, event, caller_of(request).project), parameters)

    async def event_mapping(self, request: Request) -> Response:
        """How the span that an event was made of was understood, and why."""
        run = await self.run_of(request)
        event = await self.read(self._event, run, request.path_params["event_id"])
        return json_response(await self.read(explained, self.api, run, event.span_id))

    def _event(self, run: Run, event_id: str) -> Event:
        """What an entry of the timeline tells of; the run's own entries tell of its root."""
        entry, _ = entry_with_events(self.api.reader, run, event_id)
        if entry.event is not None:
            return entry.event
        root = next((event for event in self.api.reader.events(run, False) if event.is_root), None)
        if root is None:
            raise Problem(404, f"{event_id!r} is the run's own entry, and its root did not arrive.")
        return root

    def _otlp(self, run: Run, event: Event) -> dict[str, Any]:
        """The event's span with the log records about it, or the log record that it was made of."""
        rows: list[dict[str, Any]] = []
        if event.source == "log":
            reader = RecordReader(self.api.normalizer())
            for record in self.api.reader.every_record(run):
                made = reader.event(stored_record(record))
                if made is not None and event.span_id in (made.span_id, record["span_id"]):
                    rows.append({"signal": "log", **record_document(record)})
        if (span := self.api.reader.span(run, event.span_id)) is not None:
            rows.append({"signal": "span", **span_document(span)})
            for record in self.api.reader.records(run, [event.span_id]):
                rows.append({"signal": "log", **record_document(record)})
        if not rows:
            raise Problem(404, "What this event was made of is not kept any more; retention takes it first.")
        return {name: part for _, document in requests(rows) for name, part in document.items()}

    def _exchange(self, run: Run, event: Event, project: str) -> StoredExchange:
        found = None
        if self.api.exchanges is not None:
            found = self.api.exchanges.of_span(run.tenant, run.run_id, event.span_id)
        if found is None or project not in ("", found.project):
            raise Problem(
                404,
                "This event is no call that the proxy relayed, or that is not kept any more: ask with format=otlp.",
            )
        return found
