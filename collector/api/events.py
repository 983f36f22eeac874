"""A run's timeline: pages of it, and single entries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api import cursors
from collector.api.base import RUN, Routes, RouteTable, json_response
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.grouping import EVENT_FIELDS, event_groups
from collector.api.listing import list_response
from collector.api.parameters import CURSOR, Parameter, Parameters, Type
from collector.api.problems import Problem, invalid
from collector.documents import models
from collector.documents.models import ListMeta, Paging
from collector.documents.render import entry_document
from collector.doors.keys import Scope
from mappers.model import Event, Kind, Run
from mappers.timeline import TYPES, TimelineEntry, entries_of, timeline
from mappers.tree import agent_name
from sinks.clickhouse import Reader

MOST_ENTRIES = 10_000
MOST_LEVELS = 32
"""How far above an event that is told alone its agent is looked for."""

ALONE = Parameter(
    "alone",
    "told without the rest of the run, and so without its number (`seq`): quick in a very long run too",
    Type.FLAG,
)

EVENT_PARAMETERS = (
    EVENT_FIELDS,
    Parameter("type", "types of entries", choices=TYPES, many=True),
    Parameter("since_seq", "entries after the one with this `seq`", Type.INTEGER, low=0),
    Parameter("around", "id of an entry; it and those before and after it, half of `limit` each"),
    Parameter("limit", "entries of a page", Type.INTEGER, low=1, high=MOST_ENTRIES, default=MOST_ENTRIES),
    CURSOR,
)


_OF_ONE_EVENT = re.compile(r"([0-9a-f]+)(?:\.([0-9]{1,5}))?\.(?:start|end|handoff)")


class EventList(TypedDict):
    data: list[models.Event]
    page: Paging
    meta: ListMeta


class PartialEventList(TypedDict):
    data: list[models.PartialEvent]
    page: Paging
    meta: ListMeta


class EventRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                RUN + "/events",
                self.events,
                (Answer(EventList | PartialEventList), Answer(media=NDJSON)),
                parameters=EVENT_PARAMETERS,
            ),
            Route(
                "GET",
                RUN + "/events/{event_id}",
                self.event,
                models.Event,
                scope=Scope.CONTENT,
                parameters=(ALONE,),
            ),
        ]

    async def events(self, request: Request) -> Response:
        """The run's timeline; `fields=io` adds inputs, outputs, and what calls were made with."""
        parameters = parameters_of(request)
        groups = event_groups(request, parameters)
        run = await self.run_of(request)
        events = await self.read(self.api.reader.events, run, groups.content)

        def answer() -> Response:
            entries = list(enumerate(timeline(run, events), 1))
            page, cursor = _page(entries, parameters)
            document = {
                "data": [
                    groups.of(entry_document(entry, content=groups.content, seq=seq)) for seq, entry in page
                ],
                "page": {"next_cursor": cursor},
                "meta": {"count": len(entries)},
            }
            return list_response(request, document)

        return await self.read(answer)

    async def event(self, request: Request) -> Response:
        """One entry of the timeline, with input and output."""
        event_id = request.path_params["event_id"]
        run = await self.run_of(request)
        if parameters_of(request).flag("alone"):
            alone = await self.read(self._alone, run, event_id)
            if alone is not None:
                return json_response(entry_document(alone, content=True))
        events = await self.read(self.api.reader.events, run)
        for seq, entry in enumerate(timeline(run, events), 1):
            if entry.event_id == event_id:
                return json_response(entry_document(entry, content=True, seq=seq))
        raise no_event(event_id)

    def _alone(self, run: Run, event_id: str) -> TimelineEntry | None:
        """The entry, told from its event; None if it is one of those that only the whole run tells of."""
        match = _OF_ONE_EVENT.fullmatch(event_id)
        if match is None:
            return None
        found = self.api.reader.event_rows(run.tenant, run.run_id, [(match[1], int(match[2] or 0))])
        for event in found:
            entries = entries_of(event, "" if event.agent else self._agent_above(run, event))
            return next((entry for entry in entries if entry.event_id == event_id), None)
        return None

    def _agent_above(self, run: Run, event: Event) -> str:
        for _ in range(MOST_LEVELS):
            above = self.api.reader.event_rows(run.tenant, run.run_id, [(event.parent_span_id, 0)])
            if not above:
                break
            [event] = above
            if event.kind == Kind.AGENT:
                return agent_name(event)
        return ""


def entry_with_events(reader: Reader, run: Run, event_id: str) -> tuple[TimelineEntry, Sequence[Event]]:
    """An entry of the timeline, and events of the run among which are all that tell of its span. Only for entries that
    the rest of the run tells of, such as retries, all of it is read.

    Raises:
        Problem: 404.
    """
    for events in _few_then_all(reader, run, event_id.partition(".")[0]):
        for entry in timeline(run, events):
            if entry.event_id == event_id:
                return entry, events
    raise no_event(event_id)


def _few_then_all(reader: Reader, run: Run, span_id: str) -> Iterator[Sequence[Event]]:
    yield reader.events_about(run, [span_id])
    yield reader.events(run)


def no_event(event_id: str) -> Problem:
    return Problem(404, f"The run has no event {event_id!r}.")


_Entry = tuple[int, TimelineEntry]
"""An entry with its number in the timeline, from 1."""


def _page(entries: Sequence[_Entry], parameters: Parameters) -> tuple[Sequence[_Entry], str | None]:
    """The entries that are asked for, and the cursor of the next page.

    Raises:
        Problem: 400 for a cursor or a combination that makes no sense, 404 if there is no such entry.
    """
    limit = parameters.integer("limit")
    types = parameters.choices("type")
    around = parameters.text("around")
    if around is not None:
        if parameters.text("cursor") is not None or parameters.text("since_seq") is not None:
            raise invalid("around", "stands without cursor and since_seq")
        middle = next((seq for seq, entry in entries if entry.event_id == around), None)
        if middle is None:
            raise no_event(around)
        kept = [one for one in entries if not types or one[1].type in types]
        before = [one for one in kept if one[0] < middle]
        first = max(0, len(before) - limit // 2)
        return kept[first : first + limit], None
    if parameters.text("since_seq") is not None:
        entries = entries[parameters.integer("since_seq") :]
    if types:
        entries = [one for one in entries if one[1].type in types]
    binding = parameters.binding()
    if (given := parameters.text("cursor")) is not None:
        key = cursors.decode(given, binding, int, str)
        entries = [one for one in entries if (one[1].time_ns, one[1].event_id) > key]
    page = entries[:limit]
    if len(entries) == len(page):
        return page, None
    last = page[-1][1]
    return page, cursors.encode((last.time_ns, last.event_id), binding)
