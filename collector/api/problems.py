"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from collector.telemetry.telemetry import about

log = logging.getLogger(__name__)

TYPE_PREFIX = "urn:eddyline:problem:"
"""Start of every problem type; the last part names the problem."""

_TITLES = {
    400: ("invalid-request", "Invalid request"),
    401: ("unauthorized", "Authentication required"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    409: ("conflict", "Not now"),
    410: ("deleted", "Deleted"),
    413: ("too-large", "Too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
    421: ("misdirected", "Unknown host"),
    500: ("internal-error", "Internal error"),
    501: ("not-installed", "Not installed"),
    503: ("unavailable", "Temporarily unavailable"),
    504: ("timeout", "The query took too long"),
}


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """An answer other than success.

    Args:
        errors: one entry for each wrong parameter: `{"parameter": …, "detail": …, "allowed": […]}`.
        kind: last part of the problem's type; the status' usual one if not given.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "",
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.errors = errors
        self.headers = headers

    def response(self, scope: Scope) -> Response:
        """The answer to the request of that scope."""
        kind, title = _TITLES.get(self.status, ("error", "Error"))
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + (self.kind or kind),
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "instance": scope["path"],
            "request_id": scope["request_id"],
        }
        if self.errors:
            document["errors"] = list(self.errors)
        return Response(
            orjson.dumps(document), self.status, media_type="application/problem+json", headers=self.headers
        )


def invalid(parameter: str, detail: str, allowed: Sequence[str] = ()) -> Problem:
    """A 400 for one query parameter."""
    entry: dict[str, Any] = {"parameter": parameter, "detail": detail}
    if allowed:
        entry["allowed"] = list(allowed)
    return Problem(400, f"{parameter}: {detail}", kind="invalid-parameter", errors=[entry])


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request.scope)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What the router says (404, 405), as a problem."""
    assert isinstance(error, HTTPException)
    detail = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not answered here.",
    }.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers).response(request.scope)


async def on_store_error(request: Request, error: Exception) -> Response:
    """The store did not answer: 504 if the query was too much for it, else 503."""
    if "TIMEOUT_EXCEEDED" in str(error) or "TOO_MANY_ROWS" in str(error):
        problem = Problem(
            504,
            "The query took too long, and was ended. Narrow it: to a time by `since` and `until` (such as since=-24h),"
            " to a project, a session or a user; texts and attributes take longest.",
        )
    else:
        log.warning(
            "%s: %s; request %s",
            request.url.path,
            error,
            request.scope["request_id"],
            extra=_subject_of(request),
        )
        problem = Problem(503, "The store does not answer; try again.", headers={"Retry-After": "1"})
    return problem.response(request.scope)


async def on_keys_error(request: Request, error: Exception) -> Response:
    log.error("%s", error)
    problem = Problem(503, "The file of API keys can not be used; the collector's log says why.")
    return problem.response(request.scope)


async def on_error(request: Request, error: Exception) -> Response:
    log.error(
        "%s failed; request %s",
        request.url.path,
        request.scope["request_id"],
        exc_info=error,
        extra=_subject_of(request),
    )
    return Problem(500, "The request failed here; the collector's log says why.").response(request.scope)


def _subject_of(request: Request) -> dict[str, str]:
    """Who asked, and of which run."""
    caller = request.scope.get("caller")
    run_id = str(request.path_params.get("run_id", ""))
    return about(caller.tenant if caller is not None else "", run_id)
