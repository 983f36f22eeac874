"""The API's contract as a check: whatever a test asks the API, the answer must be one that its route declares."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pydantic.version

import collector
import mappers
import sinks
from collector.api.app import routes_of
from collector.api.base import Api
from collector.api.openapi import openapi_document
from tests.once import made_once

DOCUMENT = "openapi.json"
CHECKED = ("application/json", "application/problem+json")


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, with objects that have no other members than those described."""
    sources = [Path(pydantic.version.__file__)]  # it makes the schemas
    for package in (collector, mappers, sinks):
        sources += Path(package.__path__[0]).rglob("*.py")
    found: dict[str, Any] = orjson.loads((made_once("contract", sources, _write) / DOCUMENT).read_bytes())
    return found


def _write(directory: Path) -> None:
    document = _closed(openapi_document(routes_of(Api.__new__(Api)), "0"))
    (directory / DOCUMENT).write_bytes(orjson.dumps(document))


def check(response: httpx.Response) -> None:
    """Fails if the route does not declare this status, content type or body. Streams are not read."""
    media = response.headers.get("content-type", "").partition(";")[0]
    operation = _operation(response.request.method, response.request.url.path)
    if operation is None:
        return
    where = f"{response.request.method} {response.request.url}: {response.status_code}"
    declared = operation["responses"].get(str(response.status_code))
    assert declared is not None, f"{where} is not declared"
    content = declared.get("content", {})
    assert media in content or (not content and not media), f"{where} with {media!r} is not declared"
    if media in CHECKED and response.request.method != "HEAD":
        errors = [
            f"{where} at /{'/'.join(map(str, error.instance_path))}: {error.message}"
            for error in _validator(*_key(operation, response.status_code, media)).iter_errors(
                _read(response)
            )
        ]
        assert not errors, "\n".join(errors[:5])


def _read(response: httpx.Response) -> Any:
    response.read()
    return response.json()


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "$"), path)
        for path in document()["paths"]
    ]


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for pattern, template in _paths():
        if pattern.match(path):
            found: dict[str, Any] | None = document()["paths"][template].get(
                "get" if method == "HEAD" else method.lower()
            )
            return found
    return None


def _key(operation: dict[str, Any], status: int, media: str) -> tuple[str, str, str]:
    return operation["operationId"], str(status), media


@cache
def _validator(operation_id: str, status: str, media: str) -> jsonschema_rs.Validator:
    (operation,) = (
        operation
        for methods in document()["paths"].values()
        for operation in methods.values()
        if operation["operationId"] == operation_id
    )
    schema = operation["responses"][status]["content"][media]["schema"]
    return jsonschema_rs.validator_for(schema | {"components": document()["components"]})
