"""A call of the proxy as other programs take it: a command line of curl, and a HAR document."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import orjson
from typing_extensions import TypedDict

from collector.api.exchange_documents import BASE64
from collector.documents.render import rfc3339
from sinks.clickhouse.exchanges import StoredExchange

MASKED = "[redacted"
"""How what stands in a secret's place begins (`mappers.redact`)."""
_LEFT_TO_CURL = frozenset({"content-length", "host", "accept-encoding", "connection", "transfer-encoding"})
_VARIABLES = {"azure": "AZURE_OPENAI_API_KEY", "cohere": "CO_API_KEY", "hf": "HF_TOKEN", "local": "API_KEY"}
"""Variables that hold keys, by upstream, where they are not called after it."""


class HarCreator(TypedDict):
    """The program that made the archive."""

    name: str
    version: str


class HarLog(TypedDict):
    """HTTP calls as browsers' tools write them down; here one."""

    version: str
    creator: HarCreator
    entries: list[dict[str, Any]]


class Har(TypedDict):
    """An HTTP archive (HAR 1.2)."""

    log: HarLog


def url_of(one: StoredExchange) -> str:
    """Where the request went. The archive keeps host and port; only servers at hand are asked without TLS."""
    host, _, port = one.server.rpartition(":")
    if not host or not port.isdigit():
        return f"https://{one.server}{one.path}"
    if port in ("443", "80"):
        return f"{'https' if port == '443' else 'http'}://{host}{one.path}"
    return f"{'https' if port.endswith('443') else 'http'}://{one.server}{one.path}"


def as_curl(one: StoredExchange) -> str:
    """The request as a command for a shell. The key is a variable's, named as its provider names it."""
    words = [f"curl -sS -X {shlex.quote(one.method)} {shlex.quote(url_of(one))}"]
    headers = [(name, value) for name, value in _headers(one.request_headers) if name not in _LEFT_TO_CURL]
    words += [_header(one, name, value) for name, value in headers]
    body = one.request_body
    if body is not None and body.startswith(BASE64):
        return (
            f"echo {shlex.quote(body[len(BASE64) :])} | base64 -d | "
            + " \\\n  ".join([*words, "--data-binary @-"])
            + "\n"
        )
    if body:
        words.append(f"--data-raw {shlex.quote(body)}")
    if one.streamed:
        words.append("-N")
    return " \\\n  ".join(words) + "\n"


def _header(one: StoredExchange, name: str, value: str) -> str:
    if MASKED not in value:
        return f"-H {shlex.quote(f'{name}: {value}')}"
    variable = _VARIABLES.get(one.upstream, f"{re.sub('[^A-Z0-9]', '_', one.upstream.upper())}_API_KEY")
    return f'-H "{name}: {"Bearer " if name == "authorization" else ""}${variable}"'


def as_har(one: StoredExchange, version: str) -> dict[str, Any]:
    """The call as an HTTP archive of one entry (HAR 1.2)."""
    wait_ms = one.head_ns / 1e6
    request_headers, response_headers = (
        list(_headers(one.request_headers)),
        list(_headers(one.response_headers)),
    )
    request: dict[str, Any] = {
        "method": one.method,
        "url": url_of(one),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(request_headers),
        "queryString": [],
        "headersSize": -1,
        "bodySize": one.request_bytes,
    }
    if one.request_body is not None:
        request["postData"] = {
            "mimeType": _value(request_headers, "content-type") or "application/json",
            "text": one.request_body,
        }
    content: dict[str, Any] = {
        "size": len((one.response_body or "").encode()),
        "mimeType": _value(response_headers, "content-type") or "application/json",
    }
    if one.response_body is not None:
        if one.response_body.startswith(BASE64):
            content |= {"text": one.response_body[len(BASE64) :], "encoding": "base64"}
        else:
            content["text"] = one.response_body
    entry = {
        "startedDateTime": rfc3339(one.start_ns),
        "time": one.duration_ns / 1e6,
        "request": request,
        "response": {
            "status": max(one.status, 0),
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _pairs(response_headers),
            "content": content,
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": one.response_bytes,
            **({"_error": one.error_type} if one.error_type else {}),
        },
        "cache": {},
        "timings": {"send": 0, "wait": wait_ms, "receive": max(0.0, one.duration_ns / 1e6 - wait_ms)},
        "_chunk_ends": list(one.chunk_ends),
        "_chunk_times_ms": [at_ns / 1e6 for at_ns in one.chunk_times],
    }
    return {
        "log": {"version": "1.2", "creator": {"name": "eddyline", "version": version}, "entries": [entry]}
    }


def _headers(text: str) -> Iterator[tuple[str, str]]:
    for name, value in orjson.loads(text):
        yield name.lower(), value


def _pairs(headers: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]


def _value(headers: list[tuple[str, str]], wanted: str) -> str:
    return next((value for name, value in headers if name == wanted), "")
