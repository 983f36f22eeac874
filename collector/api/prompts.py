"""What a model call read and wrote as messages, and what of it is new since the call before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.messages import MAX_CHARS, MessagePart, part_document
from collector.api.problems import Problem
from collector.content import ContentReader, Whole
from collector.documents.models import Time, described
from collector.documents.render import rfc3339
from collector.doors.keys import Scope
from mappers.messages import Message, read_messages
from mappers.model import Run
from mappers.outline import Node, node_id
from mappers.prompts import Change, Changed, call_before, changed


@described
class PromptMessage(TypedDict):
    """A message that the call read or wrote, or that it no longer read."""

    direction: str
    """input or output."""
    change: str
    """same, added or removed since the call before; what a call wrote is always added."""
    role: str
    parts: list[MessagePart]


@described
class CallBefore(TypedDict):
    """The call before of the same agent: what it wrote counts as known."""

    id: str
    """Of its node in the run's tree."""
    time: Time
    model: str | None


class PromptMeta(TypedDict):
    """How much of what was read is new."""

    before: CallBefore | None
    same: int
    added: int
    removed: int


class CallPrompt(TypedDict):
    """A call's messages in order."""

    data: list[PromptMessage]
    meta: PromptMeta


class PromptRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                RUN + "/prompts/{node_id}",
                self.prompt,
                CallPrompt,
                scope=Scope.CONTENT,
                parameters=(MAX_CHARS,),
            )
        ]

    async def prompt(self, request: Request) -> Response:
        """What a model call read and wrote as messages, with what is new since the call before of the same agent."""
        wanted = request.path_params["node_id"].lower()
        most = parameters_of(request).integer("max_chars")
        run = await self.run_of(request)
        return json_response(await self.read(self._document, run, wanted, most))

    def _document(self, run: Run, wanted: str, most: int) -> CallPrompt:
        nodes = self.api.reader.nodes(run)
        node = next((node for node in nodes if node.id == wanted), None)
        if node is None:
            raise Problem(404, f"The run has no node {wanted!r}.")
        before = call_before(nodes, wanted)
        content = self._content(run, [node] if before is None else [node, before])
        now = content.get(node.id)
        read = read_messages(now.read) if now else []
        wrote = read_messages(now.wrote) if now else []
        known: Sequence[Message] = ()
        if before is not None and (had := content.get(before.id)):
            known = [*read_messages(had.read), *map(_of_assistant, read_messages(had.wrote))]
        messages = changed(known, read)
        counts = Counter(one.change for one in messages)
        return {
            "data": [
                *(_message("input", one, most) for one in messages),
                *(_message("output", Changed(Change.ADDED, message), most) for message in wrote),
            ],
            "meta": {
                "before": before
                and {"id": before.id, "time": rfc3339(before.start_ns), "model": before.model or None},
                "same": counts[Change.SAME],
                "added": counts[Change.ADDED],
                "removed": counts[Change.REMOVED],
            },
        }

    def _content(self, run: Run, nodes: Sequence[Node]) -> dict[str, Whole]:
        """Whole content by node id."""
        events = self.api.reader.events_about(run, [node.span_id for node in nodes])
        ids = {node.id for node in nodes}
        own = [event for event in events if not event.part and node_id(event.span_id, event.seq) in ids]
        reader = ContentReader(self.api.reader, self.api.normalizer(), run, events)
        return {node_id(one.event.span_id, one.event.seq): one for one in reader.whole(own)}


def _of_assistant(message: Message) -> Message:
    """Answers often do not say whose they are; the next call, which reads them, does."""
    return message if message.role else replace(message, role="assistant")


def _message(direction: str, one: Changed, most: int) -> PromptMessage:
    return {
        "direction": direction,
        "change": one.change,
        "role": one.message.role or ("user" if direction == "input" else "assistant"),
        "parts": [part_document(part, most) for part in one.message.parts],
    }
