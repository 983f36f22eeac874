"""What single events read and wrote, whole."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from collector.api.base import RUN, Routes, RouteTable
from collector.api.declaring import TEXT, Answer, Route
from collector.api.events import entry_with_events
from collector.api.problems import Problem
from collector.content import ContentReader
from collector.doors.keys import Scope
from mappers.messages.document import parse, written
from mappers.model import Event, Run

FIELDS = ("input", "output")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CUT = re.compile(r"… \[cut: (\d+) bytes\]")
"""What stands where a value was too long to be taken whole (`collector.otlp.values`)."""


class ContentRoutes(Routes):
    def table(self) -> RouteTable:
        answers = (
            Answer(media=TEXT, purpose="The whole, as text."),
            Answer(status=206, media=TEXT, purpose="The part of it that `Range` asks for."),
        )
        return [
            Route(
                "GET",
                RUN + "/events/{event_id}/content/{field}",
                self.content,
                answers,
                scope=Scope.CONTENT,
                problems=(416,),
            )
        ]

    async def content(self, request: Request) -> Response:
        """All that an event read (`input`) or wrote (`output`), as far as it was taken; parts of it by `Range`."""
        field, event_id = request.path_params["field"], request.path_params["event_id"]
        if field not in FIELDS:
            raise Problem(404, f"An event has no content {field!r}, but {' and '.join(FIELDS)}.")
        run = await self.run_of(request)
        event, text, is_preview = await self.read(self._whole, run, event_id, field)
        if not text:
            raise Problem(404, f"The event {event_id!r} has no {field}, or it was not captured.")
        body = text.encode(errors="replace")
        cut = _CUT.search(text)
        size = event.input_bytes if field == "input" else event.output_bytes
        headers = {
            "Cache-Control": "no-store",
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
            "X-Content-Format": "json" if parse(text) is not text else "text",
            "X-Content-Truncated": "true" if is_preview or cut is not None else "false",
            **({} if size is None else {"X-Content-Bytes": str(size)}),
        }
        return _ranged(body, request.headers.get("range", ""), headers)

    def _whole(self, run: Run, event_id: str, field: str) -> tuple[Event, str, bool]:
        """The event, its content, and whether that is only what the event keeps of it."""
        entry, events = entry_with_events(self.api.reader, run, event_id)
        if entry.event is None:
            raise Problem(404, f"{event_id!r} is the run's own entry; its root span's have its content.")
        event = entry.event
        whole = next(iter(ContentReader(self.api.reader, self.api.normalizer(), run, events).whole([event])))
        value = whole.read if field == "input" else whole.wrote
        if value is not None:
            return event, written(value), False
        return event, event.input if field == "input" else event.output, True


def _ranged(body: bytes, wanted: str, headers: dict[str, str]) -> Response:
    """The body, or the one range of it that is asked for; several at once are answered by the whole.

    Raises:
        Problem: 416.
    """
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match[1] == match[2] == "":
        return Response(body, media_type=TEXT, headers=headers)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
    else:
        first, last = max(0, len(body) - int(match[2])), len(body) - 1
    if first > last or first >= len(body):
        raise Problem(416, f"There are {len(body)} bytes.", headers={"Content-Range": f"bytes */{len(body)}"})
    return Response(
        body[first : last + 1],
        206,
        media_type=TEXT,
        headers=headers | {"Content-Range": f"bytes {first}-{last}/{len(body)}"},
    )
