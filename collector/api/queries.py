"""How requests choose runs: parameters, search text and JSON bodies as one filter."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from typing_extensions import TypedDict

from collector.api.base import caller_of, within_project
from collector.api.grouping import RUN_FIELDS
from collector.api.parameters import ATTRIBUTES, CURSOR, LIMIT, SINCE, UNTIL, Parameter, Parameters
from collector.api.problems import Problem, invalid
from collector.query import QueryError, read_alternatives, read_document, read_text
from collector.query.values import ALIASES, canonical, compare
from sinks.clickhouse import RunFilter
from sinks.clickhouse.reader import Order
from sinks.filter import ATTRIBUTE_PREFIX, FIELDS, NUMERIC, Condition, Every, Field, Type

MAX_BODY_BYTES = 1 << 20
MAX_IDS = 500


class FieldDescription(TypedDict):
    """A field of the query language."""

    field: str
    type: str
    purpose: str
    operators: list[str]
    choices: list[str] | None
    aliases: list[str]


def _of_field(field: Field) -> str:
    values = f": {', '.join(field.choices)}" if field.choices else ""
    return field.purpose + values


PLAIN = tuple(name for name, field in FIELDS.items() if field.type in (Type.TEXT, Type.TEXTS))
"""Fields that are parameters by their own name."""

BOUNDS = {
    f"{edge}_{name}{'_ms' if FIELDS[name].type is Type.DURATION else ''}": (name, operator)
    for name in ("cost", "tokens", "duration", "llm_calls", "tool_calls", "errors", "warnings")
    for edge, operator in (("min", ">="), ("max", "<="))
}
"""Parameters that bound a number: `min_cost`, `max_duration_ms`."""

ERRORS = {"true": (">=", "1"), "false": ("=", "0")}

SORTS = {
    "-started_at": Order.START,
    "-cost": Order.COST,
    "-tokens": Order.TOKENS,
    "-duration": Order.DURATION,
    "-warnings": Order.WARNINGS,
    "-last_activity": Order.ACTIVITY,
}

Q = Parameter("q", 'a search text, see "Choosing runs"')
FILTERS = (
    *(Parameter(name, _of_field(FIELDS[name]), many=True) for name in PLAIN),
    *(
        Parameter(bound, f"{FIELDS[name].purpose}: at {'least' if operator == '>=' else 'most'} this")
        for bound, (name, operator) in BOUNDS.items()
    ),
    Parameter("has_error", "whether something in it failed", choices=("true", "false")),
    Q,
    Parameter(ATTRIBUTES, "an attribute of a span of the run or of its resource, as text", many=True),
    SINCE,
    UNTIL,
)
"""Query parameters that choose runs."""
PAGING = (
    Parameter("include", "runs that only set something up, and duplicates, too", choices=("all",)),
    Parameter("sort", "largest first, unknown last", choices=tuple(SORTS), default="-started_at"),
    LIMIT,
    CURSOR,
    RUN_FIELDS,
    Parameter(
        "count",
        "`meta.total`: how many there are in all, to a per cent or exactly",
        choices=("estimate", "exact"),
    ),
)
RUN_PARAMETERS = (*FILTERS, *PAGING)
"""Query parameters of the list of runs."""
FACET_PARAMETERS = (
    *FILTERS,
    Parameter("of", "a field of type text or texts, `attr.KEY`, or `attr` for the keys themselves"),
    Parameter("prefix", "how the values begin, in any letter case"),
    replace(LIMIT, default=20),
)
BODY_PARAMETERS = (Parameter("filter", "a filter as JSON"), Q, SINCE, UNTIL, *PAGING)
"""Members of the body of a search."""


def run_filter(request: Request, parameters: Parameters, apart: Collection[str] = ()) -> RunFilter:
    """The runs that the parameters choose, of those that the caller may see.

    Args:
        apart: parameters that mean something else here.

    Raises:
        Problem: as `read_filter`; 403 as `within_project`.
    """
    since_ns, until_ns = parameters.window_ns()
    return RunFilter(
        tenant=caller_of(request).tenant,
        since_ns=since_ns,
        until_ns=until_ns,
        where=within_project(request, read_filter(parameters, apart)),
    )


def read_filter(parameters: Parameters, apart: Collection[str] = ()) -> Condition:
    """What the parameters and the search text in `q` ask for, all together.

    Raises:
        Problem: 400, for the first parameter that can not be understood.
    """
    parts: list[Condition] = []
    for name in parameters.names():
        if name in apart:
            continue
        try:
            if name in BOUNDS:
                field, operator = BOUNDS[name]
                parts.append(compare(field, operator, parameters.text(name) or "", pattern=False))
            elif name == "has_error":
                parts.append(compare("errors", *ERRORS[parameters.choice(name) or ""], pattern=False))
            elif name in PLAIN or name.startswith(ATTRIBUTE_PREFIX):
                parts.append(read_alternatives(name, parameters.choices(name)))
            elif name == "q":
                parts.append(read_text(parameters.text(name) or ""))
        except QueryError as error:
            raise _problem(error, name) from None
    return Every(parts)


def read_body_filter(body: dict[str, Any]) -> Condition:
    """The filter of a search's body: `filter`, `q`, or both.

    Raises:
        Problem: 400, with the place in the document.
    """
    parts: list[Condition] = []
    if "filter" in body:
        try:
            parts.append(read_document(body["filter"]))
        except QueryError as error:
            raise _problem(error, "filter") from None
    if "q" in body:
        if not isinstance(body["q"], str):
            raise invalid("q", "is not a text")
        try:
            parts.append(read_text(body["q"]))
        except QueryError as error:
            raise _problem(error, "q") from None
    return Every(parts)


async def read_json(request: Request, most_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The request's body, a JSON object.

    Raises:
        Problem: 413 or 400.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise Problem(413, f"The body is longer than {most_bytes} bytes.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error.msg} at {error.pos}.") from None
    if not isinstance(document, dict):
        raise Problem(400, "The body is not a JSON object.")
    return document


def read_ids(body: dict[str, Any]) -> list[str]:
    """Run ids of a batch request, each once, in lower case.

    Raises:
        Problem: 400.
    """
    ids = body.get("ids")
    if set(body) != {"ids"} or not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise invalid("ids", "the body is an object with a list of run ids and nothing else")
    if not 0 < len(ids) <= MAX_IDS:
        raise invalid("ids", f"must be between 1 and {MAX_IDS}, not {len(ids)}")
    return list(dict.fromkeys(one.lower() for one in ids))


def facet_field(name: str) -> str:
    """The field whose values are asked for; `attr` stands for the keys of attributes.

    Raises:
        Problem: 400.
    """
    if name == "attr":
        return name
    try:
        name = canonical(name)
    except QueryError as error:
        raise _problem(error, "of") from None
    if not name.startswith(ATTRIBUTE_PREFIX) and name not in PLAIN:
        raise invalid("of", f"{name!r} has too many values to list", [*PLAIN, "attr", "attr.KEY"])
    return name


def field_documents() -> list[FieldDescription]:
    """The fields of the query language."""
    return [
        {
            "field": name,
            "type": field.type,
            "purpose": field.purpose,
            "operators": ["=", "!=", "<", "<=", ">", ">="] if field.type in NUMERIC else ["=", "!="],
            "choices": list(field.choices) or None,
            "aliases": [alias for alias, meant in ALIASES.items() if meant == name],
        }
        for name, field in FIELDS.items()
    ]


def _problem(error: QueryError, parameter: str) -> Problem:
    entry: dict[str, Any] = {"parameter": parameter, "detail": error.detail}
    if error.at is not None:
        entry["at"] = error.at
    if parameter == "filter":
        entry["pointer"] = "/filter" + error.pointer
    if error.allowed:
        entry["allowed"] = list(error.allowed)
    where = f" at character {error.at + 1}" if error.at is not None else ""
    return Problem(400, f"{parameter}{where}: {error.detail}", kind="invalid-query", errors=[entry])
