"""Lists as their reader wants them: one JSON document, or a line for each entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from collector.api.base import json_response
from collector.api.declaring import NDJSON

NEXT_CURSOR = "X-Next-Cursor"
"""Header of an answer in lines: what `page.next_cursor` is in one document."""


def list_response(request: Request, document: Mapping[str, Any]) -> Response:
    """A list with `data`, `page` and `meta`; its entries alone, one a line, for who accepts NDJSON rather than JSON."""
    if not prefers(request, NDJSON):
        return json_response(document)
    cursor = document["page"]["next_cursor"]
    return Response(
        b"".join(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE) for entry in document["data"]),
        media_type=NDJSON,
        headers={"Cache-Control": "no-store", **({NEXT_CURSOR: cursor} if cursor else {})},
    )


def prefers(request: Request, media: str) -> bool:
    """Whether the request names this media type before JSON or anything."""
    for given in request.headers.get("accept", "").split(","):
        name = given.partition(";")[0].strip().lower()
        if name in (media, "application/json", "*/*"):
            return name == media
    return False
