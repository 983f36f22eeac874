"""Import: files that other collectors, or this one, have written."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.parameters import Parameter, Type
from collector.api.problems import Problem
from collector.documents.models import described
from collector.doors.keys import Scope
from collector.importing import FORMATS, Importer, RefusedError

PIECE_BYTES = 1 << 20
PARAMETERS = (
    Parameter("format", "what the file is; `auto` looks at how it begins", choices=FORMATS, default="auto"),
    Parameter("dry_run", "only say what would be taken", Type.FLAG),
    Parameter("project", "whose it is, whatever the file says"),
)


@described
class RejectedLine(TypedDict):
    line: int
    """Its place in the file, counted from 1."""
    reason: str


@described
class Import(TypedDict):
    """What became of a file."""

    dry_run: bool
    format: str | None
    lines: int
    """Lines of JSON, or frames of protobuf, but for empty ones."""
    accepted: int
    """Spans and log records."""
    rejected_lines: int
    rejected_items: int
    rejected: list[RejectedLine]
    """The first thousand of them."""


class ImportRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "POST",
                "/api/v1/import",
                self.take,
                Import,
                scope=Scope.INGEST,
                parameters=PARAMETERS,
            )
        ]

    async def take(self, request: Request) -> Response:
        """Takes a file: our export of spans, OTLP (JSON, protobuf), LoopLens' events, calls or captures of proxies."""
        parameters = parameters_of(request)
        caller = caller_of(request)
        intake = self.api.intake
        if intake is None:
            raise Problem(404, "Nothing is taken here.")
        dry_run = parameters.flag("dry_run")
        importer = Importer(
            parameters.choice("format") or "auto",
            None if dry_run else intake.take,
            intake.limits,
            tenant=caller.tenant,
            project=caller.project or parameters.text("project") or "",
        )
        try:
            waiting = b""
            async for piece in request.stream():
                waiting += piece
                if len(waiting) >= PIECE_BYTES:
                    await self.read(importer.feed, waiting)
                    waiting = b""
            await self.read(importer.feed, waiting)
            report = await self.read(importer.end)
        except RefusedError as error:
            raise Problem(
                503,
                f"{importer.report.accepted} spans and log records were taken, and then: {error}. Send the file again:"
                " what is there already changes nothing.",
                headers={"Retry-After": "1"},
            ) from None
        return json_response(
            {
                "dry_run": dry_run,
                "format": report.form or None,
                "lines": report.lines,
                "accepted": report.accepted,
                "rejected_lines": report.rejected_lines,
                "rejected_items": report.rejected_items,
                "rejected": [{"line": line, "reason": reason} for line, reason in report.rejects],
            }
        )
