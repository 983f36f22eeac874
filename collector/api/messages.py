"""What was said in a run: its conversation, and the content of single events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api import cursors
from collector.api.base import RUN, Routes, RouteTable
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.listing import list_response
from collector.api.parameters import CURSOR, Parameter, Parameters, Type
from collector.content import ContentReader, affordable
from collector.documents.models import Paging, Time, described
from collector.documents.render import rfc3339
from collector.doors.keys import Scope
from mappers.conversation import Said, conversation
from mappers.messages import Part
from mappers.model import Event, Run

VIEWS = ("new", "full")
MAX_CHARS = Parameter(
    "max_chars", "characters of a text that are shown", Type.INTEGER, low=1, high=1 << 20, default=20_000
)
MESSAGE_PARAMETERS = (
    Parameter(
        "view", "each message once, or all that each call read and wrote", choices=VIEWS, default="new"
    ),
    Parameter("agent", "only calls of this agent"),
    MAX_CHARS,
    Parameter("calls", "model calls that are read, the first of the run", Type.INTEGER, low=1, high=1 << 20),
    Parameter("limit", "entries of a page", Type.INTEGER, low=1, high=1000, default=200),
    CURSOR,
)


@described
class MessagePart(TypedDict):
    """A part of a message; only the members that its type has."""

    type: str
    """text, reasoning, tool_call, tool_result or media."""
    text: NotRequired[str]
    """The text, or a tool's result."""
    chars: NotRequired[int]
    """Length of the whole text, or of the arguments; only if they were cut."""
    id: NotRequired[str | None]
    """What a call of a tool and its result share."""
    name: NotRequired[str | None]
    arguments: NotRequired[str]
    """JSON, or the text as it was sent."""
    media_type: NotRequired[str | None]
    url: NotRequired[str | None]


@described
class ConversationMessage(TypedDict):
    """A message, and the call in which it stands first."""

    seq: int
    """Number in this view, from 1."""
    role: str
    direction: str
    """input: the call read it; output: the call wrote it."""
    new: bool
    """No call before had it."""
    event_id: str
    """Of the call's start for what it read, of its end for what it wrote."""
    time: Time
    agent: str | None
    model: str | None
    parts: list[MessagePart]


@described
class ConversationMeta(TypedDict):
    """How much there is."""

    count: int
    calls: int
    """Model calls of the run, or of the agent."""
    calls_read: int
    """Those that were read for this; the later ones are left out if it would be too much, or more than `calls`."""
    truncated: bool


class Conversation(TypedDict):
    """What was said in a run."""

    data: list[ConversationMessage]
    page: Paging
    meta: ConversationMeta


class MessageRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                RUN + "/messages",
                self.messages,
                (Answer(Conversation), Answer(media=NDJSON)),
                scope=Scope.CONTENT,
                parameters=MESSAGE_PARAMETERS,
            ),
        ]

    async def messages(self, request: Request) -> Response:
        """The run's conversation: each message once, with its parts and the event in which it came first."""
        parameters = parameters_of(request)
        run = await self.run_of(request)
        events = await self.read(self.api.reader.events, run, False)
        return list_response(request, await self.read(self._conversation, run, events, parameters))

    def _conversation(self, run: Run, events: Sequence[Event], parameters: Parameters) -> Conversation:
        content = ContentReader(self.api.reader, self.api.normalizer(), run, events)
        calls = content.calls(parameters.text("agent") or "")
        read = affordable(calls)
        if parameters.text("calls") is not None:
            read = read[: parameters.integer("calls")]
        everything = parameters.choice("view") == "full"
        said = [one for one in conversation(content.conversation(read)) if one.new or everything]
        binding, limit = parameters.binding(), parameters.integer("limit")
        first = 0
        if (given := parameters.text("cursor")) is not None:
            (first,) = cursors.decode(given, binding, int)
        page = said[first : first + limit]
        after = first + len(page)
        return {
            "data": [
                _document(one, seq, parameters.integer("max_chars"))
                for seq, one in enumerate(page, first + 1)
            ],
            "page": {"next_cursor": cursors.encode((after,), binding) if after < len(said) else None},
            "meta": {
                "count": len(said),
                "calls": len(calls),
                "calls_read": len(read),
                "truncated": len(read) < len(calls),
            },
        }


def _document(said: Said, seq: int, max_chars: int) -> ConversationMessage:
    event = said.call.event
    ordinal = f".{event.seq}" if event.seq else ""
    return {
        "seq": seq,
        "role": said.role,
        "direction": "output" if said.wrote else "input",
        "new": said.new,
        "event_id": f"{event.span_id}{ordinal}.{'end' if said.wrote else 'start'}",
        "time": rfc3339(event.end_ns if said.wrote else event.start_ns),
        "agent": said.call.agent or None,
        "model": event.response_model or event.request_model or None,
        "parts": [part_document(part, max_chars) for part in said.parts],
    }


def part_document(part: Part, max_chars: int) -> MessagePart:
    if part.type == "media":
        return {"type": part.type, "media_type": part.text or None, "url": part.id or None}
    if part.type == "tool_call":
        document: MessagePart = {
            "type": part.type,
            "id": part.id or None,
            "name": part.name or None,
            "arguments": part.arguments[:max_chars],
        }
        whole = part.arguments
    else:
        document = {"type": part.type, "text": part.text[:max_chars]}
        whole = part.text
        if part.type == "tool_result":
            document |= {"id": part.id or None, "name": part.name or None}
    if len(whole) > max_chars:
        document["chars"] = len(whole)
    return document
