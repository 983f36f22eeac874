"""The Model Context Protocol over HTTP (`/mcp`): the tools of `collector.mcp`, which ask this API as the caller may."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.api.base import Api, Routes, RouteTable
from collector.api.declaring import JSON, SSE, Answer, Route
from collector.api.problems import Problem
from collector.doors.gate import KEY_HEADERS
from collector.mcp.server import HOW_TO_INSTALL, is_installed, server_of
from collector.mcp.tools import Ask, Query, RefusedError

MAX_BODY_BYTES = 1 << 20
CREDENTIALS = (b"authorization", b"host", *(name.encode() for name in KEY_HEADERS))
OBJECT = dict[str, object]


class AssistantRoutes(Routes):
    """The protocol is stateless here: each request stands for itself, and its caller is whose key it carries."""

    def __init__(self, api: Api, pool: ThreadPoolExecutor) -> None:
        super().__init__(api, pool)
        self._handle: ASGIApp | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    def table(self) -> RouteTable:
        answers = (
            Answer(OBJECT),
            Answer(OBJECT, 202),
            Answer(OBJECT, media=SSE),
            *(Answer(OBJECT, status, JSON, "In the protocol's own words.") for status in (400, 404, 406)),
        )
        return [
            Route(
                "POST",
                "/mcp",
                self.mcp,
                answers,
                parameters=(),
                body=OBJECT,
                lenient=True,
                problems=(415, 501),
            )
        ]

    async def mcp(self, request: Request) -> Response:
        """The Model Context Protocol, stateless, for assistants; read-only."""
        # To load the library takes a second and more, in which nobody else would be answered.
        if self._handle is None and not await asyncio.to_thread(is_installed):
            raise Problem(501, f"The package mcp is missing: {HOW_TO_INSTALL}.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise Problem(415, f"The body must be {JSON}.")
        return _Handed(await self._started())

    async def _started(self) -> ASGIApp:
        async with self._starting:
            if self._handle is None:
                library = await asyncio.to_thread(import_module, "mcp.server.streamable_http_manager")
                manager = library.StreamableHTTPSessionManager(
                    server_of(_ask_for),
                    json_response=True,
                    stateless=True,
                    max_request_body_size=MAX_BODY_BYTES,
                )
                ready = asyncio.Event()

                async def run() -> None:
                    async with manager.run():
                        ready.set()
                        await asyncio.Event().wait()

                self._task = asyncio.create_task(run(), name="mcp")
                await ready.wait()
                self._handle = manager.handle_request
        return self._handle


class _Handed(Response):
    """An answer that the protocol's own application gives."""

    def __init__(self, handle: ASGIApp) -> None:
        self.status_code = 200
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._handle(scope, receive, send)


def _ask_for(request: Request) -> Ask:
    """Asks the API within the process, with the key that the request came with."""

    async def ask(path: str, query: Query) -> Any:
        return await _asked(request.scope, f"/api/v1{path}", query)

    return ask


async def _asked(outer: Scope, path: str, query: Query) -> Any:
    """Raises: RefusedError."""
    scope: Scope = {
        "type": "http",
        "asgi": outer["asgi"],
        "http_version": "1.1",
        "method": "GET",
        "scheme": outer["scheme"],
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "headers": [(name, value) for name, value in outer["headers"] if name in CREDENTIALS],
        "client": outer.get("client"),
        "server": outer.get("server"),
        "request_id": outer["request_id"],
    }
    app: ASGIApp = outer["app"]
    status = 0
    body = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    document = orjson.loads(bytes(body))
    if status != 200:
        raise RefusedError.told(document, status)
    return document
