"""Annotations: what people say of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route
from collector.api.problems import invalid
from collector.api.queries import read_json
from collector.documents import models
from collector.documents.models import Time, described
from collector.documents.render import run_document
from collector.doors.keys import Scope
from sinks.clickhouse.annotations import Annotation as KeptAnnotation

KNOWN = ("tags", "note", "pinned")
MAX_TAGS = 100
MAX_TAG = 200
MAX_NOTE = 10_000


@described
class Annotation(TypedDict):
    """What people say of a run."""

    tags: list[str]
    note: str | None
    pinned: bool
    updated_by: str | None
    """Id of the key."""
    updated_at: Time | None


@described
class WantedAnnotation(TypedDict, total=False):
    """What to say of a run; what is not given stays."""

    tags: list[str]
    """All that people give it; those of its spans stay."""
    note: str | None
    pinned: bool


class AnnotationRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("PATCH", RUN, self.annotate, models.Run, scope=Scope.ADMIN, body=WantedAnnotation),
            Route("GET", RUN + "/annotation", self.annotation, Annotation),
        ]

    async def annotation(self, request: Request) -> Response:
        """What people say of a run: their tags apart from those of its spans, the note, who said it and when."""
        run = await self.run_of(request)
        said = await self.read(self.api.reader.annotations.of, (run.tenant, run.run_id))
        return json_response(
            {
                "tags": list(said.tags),
                "note": said.note or None,
                "pinned": said.pinned,
                "updated_by": said.updated_by or None,
                "updated_at": said.updated_at.isoformat() if said.updated_at is not None else None,
            }
        )

    async def annotate(self, request: Request) -> Response:
        """Gives a run tags and a note, or pins it, so that retention leaves it; what is not given stays."""
        run = await self.run_of(request)
        caller = caller_of(request)
        key = run.tenant, run.run_id
        kept = self.api.reader.annotations
        before = await self.read(kept.of, key)
        said = read_annotation(await read_json(request), before)
        said = replace(said, updated_by=caller.key_id)
        await self.read(kept.put, key, said)
        return json_response(
            run_document(await self.run_of(request), self.api.clock_ns(), content=caller.may(Scope.CONTENT))
        )


def read_annotation(body: dict[str, Any], before: KeptAnnotation) -> KeptAnnotation:
    """What the body says, over what was said before.

    Raises: Problem (400).
    """
    if unknown := sorted(set(body) - set(KNOWN)):
        raise invalid(unknown[0], "is not known", KNOWN)
    tags, note, pinned = (body.get(name, getattr(before, name)) for name in KNOWN)
    if not isinstance(tags, (list, tuple)) or not all(
        isinstance(tag, str) and 0 < len(tag) <= MAX_TAG and tag.isprintable() for tag in tags
    ):
        raise invalid("tags", f"must be a list of texts of one line, of 1 to {MAX_TAG} characters each")
    tags = tuple(dict.fromkeys(tags))
    if len(tags) > MAX_TAGS:
        raise invalid("tags", f"must be {MAX_TAGS} at most, not {len(tags)}")
    note = "" if note is None else note
    if not isinstance(note, str) or len(note) > MAX_NOTE:
        raise invalid("note", f"must be a text of at most {MAX_NOTE} characters")
    if not isinstance(pinned, bool):
        raise invalid("pinned", "is neither true nor false")
    return KeptAnnotation(tags, note, pinned)
