"""Export: runs as files of many formats, streamed."""

from __future__ import annotations

import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from collector import exporting
from collector.api import cursors
from collector.api.base import Api, Routes, RouteTable, caller_of, json_response, need_content, within_project
from collector.api.declaring import NDJSON, Answer, Route, parameters_of
from collector.api.parameters import CURSOR, Parameter, Type
from collector.api.problems import Problem, invalid
from collector.api.queries import FILTERS, read_filter
from collector.documents.models import described
from collector.doors.keys import Scope
from collector.exporting import WITH_CONTENT, Format, Rows, Shape, Summary, refusal
from collector.exporting.formats import Csv, OtlpJson, OtlpProtobuf, Parquet
from sinks.clickhouse import RunFilter

REMEMBERED = 1000
"""Exports of which is remembered what they came to."""
MOST_RUNS = 1_000_000
ZIP = "application/zip"
ID_HEADER = "X-Eddyline-Export"

PARAMETERS = (
    *FILTERS,
    Parameter("run", "ids of runs", many=True),
    Parameter("shape", "what a row is", choices=tuple(Shape), default=Shape.RUNS),
    Parameter(
        "format",
        "how rows are written down; `zip` has all shapes",
        choices=tuple(Format),
        default=Format.JSONL,
    ),
    Parameter("include", "runs that only set something up, and duplicates, too", choices=("all",)),
    Parameter("limit", "most runs; all if not given", Type.INTEGER, low=1, high=MOST_RUNS),
    CURSOR,
    Parameter("bare", "JSON Lines without a last line that tells rows and SHA-256", Type.FLAG),
)
_MEDIA = {
    Format.JSONL: (NDJSON, "jsonl"),
    Format.CSV: (Csv.media, Csv.extension),
    Format.PARQUET: (Parquet.media, Parquet.extension),
    Format.OTLP_JSON: (OtlpJson.media, OtlpJson.extension),
    Format.OTLP_PROTO: (OtlpProtobuf.media, OtlpProtobuf.extension),
    Format.ZIP: (ZIP, "zip"),
}


@described
class Export(TypedDict):
    """What an export came to."""

    export_id: str
    shape: str
    format: str
    complete: bool
    """Everything was sent."""
    runs: int
    rows: int
    bytes: int
    """But for the last line of JSON Lines that tells rows and hash."""
    sha256: str | None
    """Of these bytes, in hex; null until the export is complete."""
    next_cursor: str | None
    """Where the next export goes on, if this one had a limit and more runs follow."""


class ExportRoutes(Routes):
    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        super().__init__(api, pool)
        self._made: OrderedDict[str, tuple[str, str, Summary, str]] = OrderedDict()

    def table(self) -> RouteTable:
        files = {media.partition(";")[0] for media, _ in _MEDIA.values()}
        return [
            Route(
                "GET",
                "/api/v1/export",
                self.export,
                tuple(Answer(media=media, purpose="The file.") for media in sorted(files)),
                parameters=PARAMETERS,
            ),
            Route("GET", "/api/v1/exports/{export_id}", self.summary, Export),
        ]

    async def export(self, request: Request) -> Response:
        """Runs as a file: their rows in a `shape` and a `format`; the filters are those of the list of runs."""
        parameters = parameters_of(request)
        shape, form = (
            Shape(parameters.choice("shape") or Shape.RUNS),
            Format(parameters.choice("format") or Format.JSONL),
        )
        if why := refusal(shape, form):
            raise invalid("format", why)
        caller = caller_of(request)
        if shape in WITH_CONTENT or form is Format.ZIP:
            need_content(request)
        since_ns, until_ns = parameters.window_ns()
        wanted = RunFilter(
            tenant=caller.tenant,
            since_ns=since_ns,
            until_ns=until_ns,
            where=within_project(request, read_filter(parameters)),
            include_all=parameters.choice("include") == "all",
            run_ids=[run_id.lower() for run_id in parameters.choices("run")] or None,
        )
        binding = parameters.binding("format", "limit", "shape", "bare")
        given = parameters.text("cursor")
        now_ns = parameters.now_ns
        rows = Rows(self.api.reader, self.api.normalizer(), now_ns, content=caller.may(Scope.CONTENT))
        summary = Summary(shape, form)
        export = exporting.Export(
            self.api.reader,
            rows,
            wanted,
            now_ns,
            summary,
            cursors.run_key(given, binding) if given else None,
            parameters.integer("limit") if parameters.text("limit") else 0,
            not parameters.flag("bare"),
        )
        export_id = f"exp_{token_hex(8)}"
        self._made[export_id] = caller.tenant, caller.project, summary, binding
        if len(self._made) > REMEMBERED:
            self._made.popitem(last=False)
        media, extension = _MEDIA[form]
        what = "runs" if form is Format.ZIP else shape
        name = f"eddyline-{what}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_ns // 10**9))}.{extension}"
        return StreamingResponse(
            export.pieces(),
            media_type=media,
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                ID_HEADER: export_id,
            },
        )

    async def summary(self, request: Request) -> Response:
        """What an export came to: rows, bytes, SHA-256, and where the next goes on; a header of the file has its id."""
        export_id = request.path_params["export_id"]
        caller = caller_of(request)
        tenant, project, summary, binding = self._made.get(export_id, ("", "", None, ""))
        if summary is None or caller.tenant != tenant or caller.project not in ("", project):
            raise Problem(404, f"There is no export {export_id!r}; the last {REMEMBERED} are remembered.")
        document: dict[str, Any] = {
            "export_id": export_id,
            "shape": summary.shape,
            "format": summary.form,
            "complete": summary.is_complete,
            "runs": summary.runs,
            "rows": summary.rows,
            "bytes": summary.bytes,
            "sha256": summary.sha256 or None,
            "next_cursor": cursors.encode(summary.cursor, binding) if summary.cursor else None,
        }
        return json_response(document)
