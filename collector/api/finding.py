"""Find in a run: which of its events hold a text, and how often. A list that shows only the rows in sight needs it,
since the browser finds nothing in the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.parameters import Parameter
from collector.api.problems import invalid
from collector.content import ContentReader
from collector.documents.models import described
from collector.doors.keys import Scope
from mappers.conversation import conversation
from mappers.messages import Part
from mappers.messages.document import parse, written
from mappers.model import Event, Kind, Run
from mappers.outline import node_id
from mappers.tree import TOOL_KINDS
from sinks.clickhouse.queries.finding import Found

MOST_CHARACTERS = 1_000
MOST_HITS = 2_000
"""Events that are named; of more those that began first."""
WHOLE_EVENTS = 1_000
WHOLE_BYTES = 16 << 20
"""Runs up to both are looked through whole: what calls and tools read and wrote is read from spans as received. Of
longer ones what events keep of it is looked through, which of fifty thousand events takes a tenth of a second."""

TEXT = Parameter("text", "what to find, as it stands there but for letter case; required")


@described
class FoundEvent(TypedDict):
    """An event that holds the text."""

    id: str
    """Of its node in the run's tree."""
    input: int
    """How often the text is in what it read; of a model call in the messages that no call before had."""
    output: int
    error: int


@described
class FoundMeta(TypedDict):
    """How much was found, and in what."""

    events: int
    places: int
    whole: bool
    """All texts were looked through as a whole; else as much of each as events keep."""
    truncated: bool
    """More events hold it than are named."""


class FoundInRun(TypedDict):
    """Where a text is in a run, by time."""

    data: list[FoundEvent]
    meta: FoundMeta


class FindingRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", RUN + "/find", self.find, FoundInRun, scope=Scope.CONTENT, parameters=(TEXT,)),
        ]

    async def find(self, request: Request) -> Response:
        """Which events of the run hold a text, in any letter case, and how often."""
        text = parameters_of(request).text("text")
        if not text or not text.strip():
            raise invalid("text", "is missing: say what to find")
        if len(text) > MOST_CHARACTERS:
            raise invalid("text", f"is longer than {MOST_CHARACTERS} characters")
        run = await self.run_of(request)
        found, whole = await self.read(self._found, run, text)
        named = found[:MOST_HITS]
        document: FoundInRun = {
            "data": [
                {"id": one.id, "input": one.input, "output": one.output, "error": one.error} for one in named
            ],
            "meta": {
                "events": len(named),
                "places": sum(one.input + one.output + one.error for one in named),
                "whole": whole,
                "truncated": len(found) > MOST_HITS,
            },
        }
        return json_response(document)

    def _found(self, run: Run, text: str) -> tuple[list[Found], bool]:
        """What was found, and whether whole texts were looked through."""
        if run.counts.spans <= WHOLE_EVENTS:
            events = self.api.reader.events(run)
            if sum((event.input_bytes or 0) + (event.output_bytes or 0) for event in events) <= WHOLE_BYTES:
                return list(self._in_whole(run, events, text)), True
        return self.api.reader.find(run, text, MOST_HITS + 1), False

    def _in_whole(self, run: Run, events: list[Event], wanted: str) -> Iterator[Found]:
        pattern = re.compile(re.escape(wanted), re.IGNORECASE)
        content = ContentReader(self.api.reader, self.api.normalizer(), run, events)
        counts: Counter[tuple[str, int, str]] = Counter()
        calls = content.calls()
        # A tool's result stands at the tool's own event, and is no other place where a model reads it.
        tools = {event.tool for event in events if event.kind in TOOL_KINDS}
        for said in conversation(content.conversation(calls)):
            if said.new:
                event = said.call.event
                parts = [part for part in said.parts if part.type != "tool_result" or part.name not in tools]
                side = "output" if said.wrote else "input"
                counts[event.span_id, event.seq, side] += _times(pattern, map(_text, parts))
        told = {(event.span_id, event.seq) for event, _ in calls}
        shown = [event for event in events if not event.duplicate_of and not event.part]
        others = [
            event for event in shown if (event.span_id, event.seq) not in told and event.kind != Kind.LLM
        ]
        for one in content.whole(others):
            for side, value, kept in (
                ("input", one.read, one.event.input),
                ("output", one.wrote, one.event.output),
            ):
                text = kept if value is None else _plain(written(value))
                counts[one.event.span_id, one.event.seq, side] += _times(pattern, [text])
        for event in shown:
            key = event.span_id, event.seq
            error = _times(pattern, (event.error_type, event.error_message))
            found = Found(
                node_id(event.span_id, event.seq),
                counts[*key, "input"],
                counts[*key, "output"],
                error,
            )
            if found.input or found.output or found.error:
                yield found


def _text(part: Part) -> str:
    return f"{part.name} {_plain(part.arguments)}" if part.type == "tool_call" else _plain(part.text)


def _times(pattern: re.Pattern[str], texts: Iterable[str]) -> int:
    return sum(len(pattern.findall(text)) for text in texts)


def _plain(text: str) -> str:
    """A text as people read it: JSON may have written any letter as its number."""
    return written(parse(text)) if "\\u" in text else text
