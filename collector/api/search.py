"""Full text: what was said, in every language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api import cursors
from collector.api.base import Routes, RouteTable
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.listing import list_response
from collector.api.parameters import CURSOR, LIMIT, Parameter
from collector.api.problems import invalid
from collector.api.queries import FILTERS, Q, run_filter
from collector.documents.models import Paging, Time, described
from collector.documents.render import rfc3339
from collector.doors.keys import Scope
from mappers.model import Event, Kind, Status
from mappers.normalize import PREVIEW, TOOL_TEXT
from mappers.timeline import entry_types
from sinks.clickhouse.queries.search import PLACES, SearchCursor

MOST_TERMS = 20
MOST_CHARACTERS = 1_000
AROUND = 80
"""Characters that a snippet shows before and after the first thing found."""
MOST_HIGHLIGHTS = 50

SEARCH_PARAMETERS = (
    Parameter("q", 'words and "phrases" that must all be there, in any letter case; required'),
    Parameter("in", "where to look; everywhere if not given", choices=PLACES, many=True),
    *(parameter for parameter in FILTERS if parameter is not Q),
    LIMIT,
    CURSOR,
)
_TERMS = re.compile(r'"([^"]*)"|(\S+)')


@described
class Snippet(TypedDict):
    """A place where something was found."""

    place: str
    """input, output or error."""
    text: str
    highlights: list[list[int]]
    """Where in the text, as pairs of a start and a length in characters."""
    chars: int
    """Characters of this text that are kept for the search."""
    bytes: int | None
    """Size of the whole, of which these are a part."""


@described
class SearchHit(TypedDict):
    """An event in which everything was found."""

    event_id: str | None
    """Entry of the run's timeline; null where the event has none."""
    run_id: str
    span_id: str
    time: Time
    project: str
    kind: str
    name: str
    agent: str | None
    model: str | None
    tool: str | None
    session_id: str | None
    snippets: list[Snippet]


@described
class KeptCharacters(TypedDict):
    """How much of each text is searched."""

    messages: int
    """The end of what was read, the beginning of what was written."""
    tools: int
    """Of arguments and of results; of longer ones their beginning and their end."""


@described
class SearchMeta(TypedDict):
    """What was looked through."""

    terms: list[str]
    complete: bool
    """All events were looked at; else the next page goes on where this one ended."""
    searched_to: Time | None
    """Events that began before were not looked at yet."""
    kept_chars: KeptCharacters


class SearchHits(TypedDict):
    data: list[SearchHit]
    page: Paging
    meta: SearchMeta


class SearchRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                "/api/v1/search",
                self.search,
                (Answer(SearchHits), Answer(media=NDJSON)),
                scope=Scope.CONTENT,
                parameters=SEARCH_PARAMETERS,
            )
        ]

    async def search(self, request: Request) -> Response:
        """Events by what was said in them, in every language, with snippets; the newest first."""
        parameters = parameters_of(request)
        terms = read_terms(parameters.text("q"))
        places = parameters.choices("in") or PLACES
        # Also of runs that only set something up: what is said twice is left out event by event.
        wanted = replace(run_filter(request, parameters, apart=(Q.name,)), include_all=True)
        binding, limit = parameters.binding(), parameters.integer("limit")
        cursor: SearchCursor | None = None
        if (given := parameters.text("cursor")) is not None:
            at, run_id, span_id, seq = cursors.decode(given, binding, int, str, str, int)
            cursor = at, run_id, span_id, seq
        page = await self.read(
            self.api.reader.search, terms, places, wanted, limit, cursor, parameters.now_ns
        )
        document: SearchHits = {
            "data": [_hit_document(event, terms, places) for event in page.events],
            "page": {"next_cursor": page.next_cursor and cursors.encode(page.next_cursor, binding)},
            "meta": {
                "terms": terms,
                "complete": page.searched_to_ns is None,
                "searched_to": None if page.searched_to_ns is None else rfc3339(page.searched_to_ns),
                "kept_chars": {"messages": PREVIEW, "tools": TOOL_TEXT},
            },
        }
        return list_response(request, document)


def read_terms(text: str | None) -> list[str]:
    """The words and phrases of a search, each once.

    Raises:
        Problem: 400.
    """
    if text is None:
        raise invalid("q", "is missing: say what to look for")
    if len(text) > MOST_CHARACTERS:
        raise invalid("q", f"is longer than {MOST_CHARACTERS} characters")
    if text.count('"') % 2:
        raise invalid("q", f"the quote at character {text.rindex(chr(34)) + 1} is never closed")
    found = (phrase.strip() or word for phrase, word in _TERMS.findall(text))
    terms = list(dict.fromkeys(term for term in found if term))
    if not terms:
        raise invalid("q", "has nothing to look for")
    if len(terms) > MOST_TERMS:
        raise invalid("q", f"has more than {MOST_TERMS} words")
    return terms


def _hit_document(event: Event, terms: Sequence[str], places: Sequence[str]) -> SearchHit:
    snippets = list(_snippets(event, terms, places))
    return {
        "event_id": _event_id(event, [snippet["place"] for snippet in snippets]),
        "run_id": event.run_id,
        "span_id": event.span_id,
        "time": rfc3339(event.start_ns),
        "project": event.project,
        "kind": event.kind,
        "name": event.name,
        "agent": event.agent or None,
        "model": event.response_model or event.request_model or None,
        "tool": event.tool or None,
        "session_id": event.session_id or None,
        "snippets": snippets,
    }


def _event_id(event: Event, places: Sequence[str]) -> str | None:
    """The entry that tells what was found: what was only read is told by the start already."""
    types = entry_types(event.kind, running=event.status == Status.RUNNING)
    if not types:
        return None
    moment = (
        "handoff"
        if event.kind == Kind.HANDOFF
        else "end"
        if len(types) > 1 and places != ["input"]
        else "start"
    )
    return f"{event.span_id}{f'.{event.seq}' if event.seq else ''}.{moment}"


def _snippets(event: Event, terms: Sequence[str], places: Sequence[str]) -> Iterable[Snippet]:
    of_tool = "tool" in places and event.kind in (Kind.TOOL, Kind.HANDOFF)
    error = " ".join(filter(None, (event.error_type, event.error_message)))
    pattern = re.compile("|".join(re.escape(term) for term in terms), re.IGNORECASE)
    for place, text, size, wanted in (
        ("input", event.input, event.input_bytes, of_tool or "input" in places),
        ("output", event.output, event.output_bytes, of_tool or "output" in places),
        ("error", error, None, "error" in places),
    ):
        first = pattern.search(text) if wanted else None
        if first is None:
            continue
        begin, end = max(0, first.start() - AROUND), min(len(text), first.end() + AROUND)
        shown = text[begin:end]
        highlights = [[m.start(), m.end() - m.start()] for m in pattern.finditer(shown)]
        yield {
            "place": place,
            "text": shown,
            "highlights": highlights[:MOST_HIGHLIGHTS],
            "chars": len(text),
            "bytes": size,
        }
