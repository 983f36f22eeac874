"""The routes as an OpenAPI 3.1 document, from what they declare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter

from collector.api.declaring import JSON, PATH_PARAMETERS, PROBLEM, Answer, Route
from collector.api.parameters import ATTRIBUTES, Parameter, Type
from collector.documents import models

REFERENCE = "#/components/schemas/{model}"
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
INTRODUCTION = (
    "Runs, events, warnings and sums that an Eddyline collector made of LLM and agent telemetry. Fields may be added"
    " within v1, none is taken away; an unknown parameter is an error, and errors are RFC 9457 problems."
)


def openapi_document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document. Takes some 100 ms: every model is made a schema."""
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Eddyline", "version": version, "description": INTRODUCTION},
        "paths": paths,
        "components": {"schemas": schemas.named, "securitySchemes": SECURITY},
    }


class _Schemas:
    """JSON Schemas of the models that the routes name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted = [models.Problem]
        for route in routes:
            wanted += [answer.model for answer in route.every_answer() if answer.model is not None]
            wanted += [route.body] if route.body is not None else []
        unique: list[Any] = []
        for model in wanted:
            if model not in unique:
                unique.append(model)
        self._models = unique
        found, definitions = TypeAdapter.json_schemas(
            [(number, "serialization", TypeAdapter(model)) for number, model in enumerate(unique)],
            ref_template=REFERENCE,
        )
        self._schemas = {number: _plain(schema) for (number, _), schema in found.items()}
        self.named = {name: _plain(schema) for name, schema in definitions.get("$defs", {}).items()}

    def of(self, model: Any) -> dict[str, Any]:
        schema: dict[str, Any] = self._schemas[self._models.index(model)]
        return schema


def _plain(schema: Any) -> Any:
    """Without the titles that are only the names of fields again."""
    if isinstance(schema, dict):
        return {
            name: _plain(value)
            for name, value in schema.items()
            if not (name == "title" and isinstance(value, str))
        }
    return [_plain(value) for value in schema] if isinstance(schema, list) else schema


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": route.purpose,
        "parameters": [*_path_parameters(route.path), *map(_parameter, route.parameters or ())],
        "responses": dict(_responses(route, schemas)),
        "security": [{name: [route.scope.value]} for name in SECURITY] if route.scope is not None else [],
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schemas.of(route.body)}},
        }
    return operation


def _path_parameters(path: str) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1},
        }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """An attribute's name is any: as an object whose members are parameters of their own."""
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.purpose,
    }
    if parameter.name == ATTRIBUTES:
        return described | {
            "style": "form",
            "explode": True,
            "schema": {
                "type": "object",
                "patternProperties": {r"^attr\..+$": {"type": "string", "minLength": 1}},
                "additionalProperties": False,
            },
        }
    if parameter.many:
        item = {"type": "string", "minLength": 1} | (
            {"enum": list(parameter.choices)} if parameter.choices else {}
        )
        return described | {
            "description": f"{parameter.purpose}; alternatives by commas",
            "style": "form",
            "explode": False,
            "schema": {"type": "array", "items": item, "minItems": 1},
        }
    return described | {"schema": _value_schema(parameter)}


def _value_schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if parameter.type is Type.INTEGER:
        schema = {"type": "integer"}
        schema |= {} if parameter.low is None else {"minimum": parameter.low}
        schema |= {} if parameter.high is None else {"maximum": parameter.high}
    elif parameter.type is Type.FLAG:
        schema = {"type": "boolean"}
    elif parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.default is not None:
        schema["default"] = parameter.default
    return schema


def _responses(route: Route, schemas: _Schemas) -> Iterable[tuple[str, dict[str, Any]]]:
    by_status: dict[int, list[Answer]] = {}
    for answer in route.every_answer():
        by_status.setdefault(answer.status, []).append(answer)
    problems = route.every_problem()
    for status, answers in by_status.items():
        response: dict[str, Any] = {
            "description": next((answer.purpose for answer in answers if answer.purpose), "")
            or HTTPStatus(status).phrase
        }
        content = {
            answer.media: {"schema": schemas.of(answer.model) if answer.model is not None else _TEXT}
            for answer in answers
            if answer.media
        }
        if status in problems:
            content[PROBLEM] = {"schema": schemas.of(models.Problem)}
        yield str(status), response | ({"content": content} if content else {})
    if route.method == "GET" and route.scope is not None and not route.endless:
        yield "304", {"description": "As the ETag in If-None-Match says; there is no body."}
    for status in problems:
        if status not in by_status:
            content = {PROBLEM: {"schema": schemas.of(models.Problem)}}
            yield str(status), {"description": HTTPStatus(status).phrase, "content": content}


_TEXT = {"type": "string"}
