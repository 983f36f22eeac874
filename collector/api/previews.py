"""What many events read and wrote, as far as events keep it: a list asks for those that are in sight."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.parameters import Parameter
from collector.api.problems import invalid
from collector.documents.models import Error, described
from collector.doors.keys import Scope
from mappers.model import Event
from mappers.outline import node_id

MOST_PREVIEWS = 200
IDS = Parameter("ids", f"ids of nodes, as the run's tree has them; {MOST_PREVIEWS} at most", many=True)


@described
class Preview(TypedDict):
    """The beginning of what an event read and wrote."""

    id: str
    input: str | None
    output: str | None
    tool_requests: list[str]
    """Names of the tools that a model asked for."""
    error: Error | None


class PreviewList(TypedDict):
    """Of those that the run has, in no order."""

    data: list[Preview]


class PreviewRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET", RUN + "/previews", self.previews, PreviewList, scope=Scope.CONTENT, parameters=(IDS,)
            )
        ]

    async def previews(self, request: Request) -> Response:
        """What events of the run read and wrote, cut: quick also for a few of very many events."""
        ids = parameters_of(request).choices("ids")
        if not 0 < len(ids) <= MOST_PREVIEWS:
            raise invalid("ids", f"takes between 1 and {MOST_PREVIEWS} ids, not {len(ids)}")
        keys = [_key(one) for one in ids]
        run = await self.run_of(request)
        events = await self.read(self.api.reader.event_rows, run.tenant, run.run_id, keys)
        return json_response({"data": _documents(events)})


def _key(node_id: str) -> tuple[str, int]:
    """(span id, number of the event within its span). Raises: Problem (400)."""
    span_id, _, seq = node_id.lower().partition(".")
    if seq and not (seq.isdecimal() and len(seq) < 10):
        raise invalid("ids", f"{node_id!r} is no node: a span's id, and perhaps a number after a dot")
    return span_id, int(seq or 0)


def _documents(events: Sequence[Event]) -> list[Preview]:
    return [
        {
            "id": node_id(event.span_id, event.seq),
            "input": event.input or None,
            "output": event.output or None,
            "tool_requests": [request.name for request in event.tool_requests],
            "error": {"type": event.error_type or None, "message": event.error_message or None}
            if event.error_type or event.error_message
            else None,
        }
        for event in events
    ]
