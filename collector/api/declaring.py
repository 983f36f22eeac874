"""A route as it is declared: what it takes, what it answers, and who may ask. The reading of parameters, the
discovery, the OpenAPI document and the reference are all made from this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from collector.api.parameters import Parameter, Parameters
from collector.doors.keys import Scope

Endpoint = Callable[[Request], Awaitable[Response]]

JSON = "application/json"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
TEXT = "text/plain"
MARKDOWN = "text/markdown"
CSV = "text/csv"
SSE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    Args:
        model: a TypedDict, or a type made of some; None: no JSON.
        media: content type; "" if there is no body.
    """

    model: Any = None
    status: int = 200
    media: str = JSON
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    Args:
        endpoint: its docstring's first line is the route's purpose in every reference.
        answers: every successful answer; a model alone stands for JSON with status 200.
        scope: what a key must be allowed to do; None: no key is needed.
        parameters: of the query; None: the query is not looked at.
        body: model of the JSON body, if it takes one.
        problems: statuses of problems beside those that follow from the rest.
        lenient: the endpoint reads the query itself, as another's API does; unknown parameters are no error.
        endless: the answer goes on for as long as the caller listens.
    """

    method: str
    path: str
    endpoint: Endpoint
    answers: Any
    scope: Scope | None = Scope.READ
    parameters: Sequence[Parameter] | None = ()
    body: Any = None
    problems: Sequence[int] = ()
    endless: bool = False
    lenient: bool = False

    @property
    def purpose(self) -> str:
        return (self.endpoint.__doc__ or "").partition("\n")[0]

    def every_answer(self) -> Sequence[Answer]:
        if isinstance(self.answers, Answer):
            return (self.answers,)
        return self.answers if isinstance(self.answers, tuple) else (Answer(self.answers),)

    def every_problem(self) -> list[int]:
        """Statuses that a problem can have here, in order."""
        found = {421, *self.problems}
        if self.scope is not None:
            found |= {401, 403, 503, 504}
        if (self.parameters is not None and not self.lenient) or self.body is not None:
            found.add(400)
        if self.body is not None:
            found.add(413)
        if "{" in self.path and not self.lenient:
            found.add(404)
        if "{run_id}" in self.path:
            found.add(410)
        return sorted(found)


def parameters_of(request: Request) -> Parameters:
    """What the request gives of its route's parameters."""
    parameters: Parameters = request.scope["parameters"]
    return parameters


PATH_PARAMETERS = {
    "run_id": "id of the run: its trace id, 32 hex digits",
    "event_id": "id of an entry of the run's timeline",
    "node_id": "id of a node of the run's tree",
    "trace_id": "id of the trace: 32 hex digits, or in base64",
    "service": "name of the service",
    "field": "input or output",
    "session_id": "id of the session",
    "looplens_run_id": "id of the run, as here or as its SDK gave it",
    "span_id": "id of the span, 16 hex digits",
    "exchange_id": "id of the exchange, 26 characters",
    "plugin_id": "id of the plugin",
    "deletion_id": "id of the deletion",
    "export_id": "id of the export, as the header X-Eddyline-Export of its file says",
    "token_id": "id of the key, eight hex digits",
}
"""What stands in paths, by name."""
