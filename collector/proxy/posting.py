"""Requests whose whole body is at hand, which is nearly every call: the head and the body go out in one write.

The connection and the parser are aiohttp's: its pool, its resolver, its TLS. What is left out are the objects of its
client, which are made for every call: a request's multidict, its payload and its writer, the response with its cookies
and history. They were a fifth of what the processor does for a relayed call.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

MAX_HEADER_BYTES = 64 << 10
MAX_HEADERS = 1024
READ_BYTES = 64 << 10
"""Of an answer that is not taken, so much is read."""
MAX_ORIGINS = 256
"""Providers that are remembered, each with what the pool wants to know of it."""
SWITCHING = 101


class Answer:
    """A response: its head, and its body as it comes. Every member is one that aiohttp's response has, too."""

    __slots__ = ("closed", "connection", "content", "headers", "raw_headers", "status")

    def __init__(self, connection: Connection, message: Any, content: aiohttp.StreamReader) -> None:
        self.connection = connection
        self.status: int = message.code
        self.headers = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.content = content
        self.closed = False

    @property
    def content_type(self) -> str:
        value: str = self.headers.get("content-type", "")
        return value.partition(";")[0].strip().lower()

    def release(self) -> None:
        """Gives the connection back, if the whole answer was read; closes it otherwise."""
        self.closed = True
        self.connection.release()

    def close(self) -> None:
        self.closed = True
        self.connection.close()


class Poster:
    """Posts over the connections of one pool."""

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self._connector = connector
        self._origins: dict[tuple[Any, ...], aiohttp.ClientRequest] = {}

    async def post(
        self,
        url: URL,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        timeout: aiohttp.ClientTimeout,
        ssl: SSLContext | None = None,
    ) -> Answer:
        """Sends the request; returns when the answer's head is there.

        Args:
            headers: as they are sent, with the length of the body and without `Host`.
            ssl: for https; None checks certificates as the system does.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is no answer.
        """
        connection = await self._connector.connect(self._origin(url, ssl), [], timeout)
        try:
            protocol = connection.protocol
            transport = connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=timeout.sock_read,
                read_bufsize=READ_BYTES,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                max_headers=MAX_HEADERS,
            )
            transport.write(_written(url, headers, body))
            protocol.start_timeout()
            message, content = await _head(protocol)
        except BaseException:
            connection.close()
            raise
        return Answer(connection, message, content)

    def _origin(self, url: URL, tls: SSLContext | None) -> aiohttp.ClientRequest:
        """What the pool finds a connection by, or makes one for."""
        key = (url.scheme, url.raw_host, url.port, tls)
        origin = self._origins.get(key)
        if origin is None:
            if len(self._origins) >= MAX_ORIGINS:
                self._origins.clear()
            origin = aiohttp.ClientRequest("POST", url.origin(), ssl=tls if tls is not None else True)
            self._origins[key] = origin
        return origin


def _written(url: URL, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    start = f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
    lines = [start.encode()]
    for name, value in headers:
        lines += name, b": ", value, b"\r\n"
    lines += b"\r\n", body
    return b"".join(lines)


async def _head(protocol: ResponseHandler) -> tuple[Any, aiohttp.StreamReader]:
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError(str(error.code)) from error
        if not 100 <= message.code < 200 or message.code == SWITCHING:
            return message, content
