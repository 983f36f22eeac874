"""Requests whose whole body is at hand, which is nearly every call: one write out, answers read as they come.

aiohttp opens the connections: its resolver (and with it the gate's judgement of addresses), its TLS, its time limits.
What a call does on an open one is little and is done here, with the parser that the listener has, too. aiohttp's own
way to send makes a multidict, a payload, a writer, a reader, a parser and two timers for every call: 200 µs of the
processor, 100 with all of that left out that its pool and its protocol allow, 45 so.
"""

from __future__ import annotations

import asyncio
import select
from collections import defaultdict
from collections.abc import Callable, Coroutine
from ssl import SSLContext
from typing import Any, cast

import aiohttp
import httptools
from aiohttp.connector import Connection
from yarl import URL

MAX_HEADER_BYTES = 64 << 10
MAX_HEADERS = 1024
READ_BYTES = 64 << 10
"""Of an answer that is not taken, so much is read."""
KEEP_ALIVE_S = 30
"""Shorter than what providers keep, so that it is us who close an idle connection."""
NO_BODY = frozenset({204, 304})
SWITCHING, FINAL = 101, 200

Read = Callable[[], Coroutine[Any, Any, bytes]]
"""Gives what has come of a body, as soon as there is any; b"" at its end."""

_Origin = tuple[str, str | None, int | None, SSLContext | None]
"""Connections to the same one are as good as each other."""


class Silence:
    """Of one connection: whether nothing has come over it that the event loop has not told of yet. A provider that has
    closed an idle connection has said so: what is written after that would be lost, and nobody could tell whether it
    had arrived."""

    __slots__ = ("_descriptor", "_waiting")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        known = transport.get_extra_info("socket")
        self._descriptor: int = known.fileno() if known is not None else -1
        self._waiting = select.poll() if hasattr(select, "poll") else None  # there is none on Windows
        if self._waiting is not None and self._descriptor >= 0:
            self._waiting.register(self._descriptor, select.POLLIN)

    @property
    def holds(self) -> bool:
        """Ask only while the connection is open: a number that was closed may be another connection's."""
        if self._descriptor < 0:
            return False
        if self._waiting is None:
            return not select.select([self._descriptor], [], [], 0)[0]
        return not self._waiting.poll(0)


class Line(asyncio.Protocol):
    """One connection to a provider, which has one call at a time."""

    def __init__(self, connection: Connection, poster: Poster, origin: _Origin) -> None:
        self._connection = connection
        self._poster = poster
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", connection.transport)
        self._silence = Silence(self._transport)
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wait_s = 0.0
        self._deadline = 0.0
        """By the loop's clock; 0: nobody waits."""
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True
        self._head_bytes = 0
        self._keeps = False
        """The provider keeps the connection after the answer."""
        self._lost = False
        self.idle_since = 0.0
        self._transport.set_protocol(self)

    # ------------------------------------------------------------------- for one call

    @property
    def is_open(self) -> bool:
        return not self._lost and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        return self._silence.holds

    def send(self, request: bytes, first_byte_s: float) -> Answer:
        """Sends it; the answer has nothing yet."""
        self._head_bytes = 0
        answer = self._answer = Answer(self)
        self._wait_s = first_byte_s
        self._transport.write(request)
        return answer

    async def wait(self) -> None:
        """Until something of the answer has come, or has failed.

        Raises:
            TimeoutError: nothing came for too long.
        """
        self._waiter = self._loop.create_future()
        self._deadline = self._loop.time() + self._wait_s
        if self._timer is None or self._timer.when() > self._deadline:
            # A timer that is there already looks at the deadline when it is due: calls do not pay for one each.
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._deadline = 0.0

    def wait_at_most(self, seconds: float) -> None:
        self._wait_s = seconds

    def resume(self) -> None:
        if not self._reading and self.is_open:
            self._reading = True
            self._transport.resume_reading()

    def end(self, *, reusable: bool) -> None:
        self._answer = None
        # An answer may come before all of the request has left: what is left then belongs to no other call.
        if reusable and self.is_open and self._keeps and not self._transport.get_write_buffer_size():
            self.resume()
            self.idle_since = self._loop.time()
            self._poster.give_back(self._origin, self)
        else:
            self.close()

    def close(self) -> None:
        self._cancel_timer()
        self._transport.close()
        self._connection.close()

    def _set_timer(self) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_at(self._deadline, self._due)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        answer = self._answer
        if answer is not None and not answer.ended and answer.error is None:
            answer.error = error
        self._wake()

    # ------------------------------------------------------------------- what comes in

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.ended:  # nobody asked for it
            self.close()
            return
        if not answer.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not answer.ended:
                self._fail(aiohttp.ClientPayloadError(type(error).__name__))
            self.close()
        if not answer.status and self._head_bytes > MAX_HEADER_BYTES * 2:
            self._fail(aiohttp.ClientPayloadError("the head is too long"))
            self.close()
        if answer.buffered > READ_BYTES and self._reading and not answer.ended and self.is_open:
            self._reading = False
            self._transport.pause_reading()
        if answer.status or answer.error is not None:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._cancel_timer()
        self._connection.close()
        answer = self._answer
        if answer is None or answer.ended:
            return
        if not answer.status:
            self._fail(aiohttp.ServerDisconnectedError())
        elif answer.ends_with_connection and exc is None:
            self._keeps = False
            answer.ended = True
            self._wake()
        else:
            self._fail(aiohttp.ClientPayloadError("the answer is cut"))

    # ------------------------------------------------------------------- from the parser

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is not None and answer.ended:
            raise ValueError("bytes after the answer")
        if answer is not None:
            answer.raw_headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is None or answer.status:  # of a trailer
            return
        if len(answer.raw_headers) >= MAX_HEADERS or len(name) + len(value) > MAX_HEADER_BYTES:
            raise ValueError("the head is too long")
        answer.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == SWITCHING:
            raise ValueError("a change of protocols that nobody asked for")
        answer = self._answer
        if status < FINAL or answer is None:
            return
        known = {name.lower(): value for name, value in answer.raw_headers}
        in_chunks = b"chunked" in known.get(b"transfer-encoding", b"").lower()
        answer.ends_with_connection = (
            not in_chunks
            and (b"content-length" not in known or b"transfer-encoding" in known)
            and status not in NO_BODY
        )
        answer.status = status

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is not None:
            answer.pieces.append(body)
            answer.buffered += len(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is not None and answer.status:
            self._keeps = self._parser.should_keep_alive()
            answer.ended = True


class Answer:
    """A response: its head, and its body as it comes. It is its own `content`, as aiohttp's response has one."""

    __slots__ = (
        "_line",
        "buffered",
        "closed",
        "ended",
        "ends_with_connection",
        "error",
        "pieces",
        "raw_headers",
        "status",
    )

    def __init__(self, line: Line) -> None:
        self._line = line
        self.status = 0
        """0 until the head is whole."""
        self.raw_headers: list[tuple[bytes, bytes]] = []
        """As they came, in their order."""
        self.pieces: list[bytes] = []
        self.buffered = 0
        """Bytes of `pieces`."""
        self.ends_with_connection = False
        self.ended = False
        self.error: Exception | None = None
        self.closed = False

    @property
    def content(self) -> Answer:
        return self

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case, of each name the first."""
        found: dict[str, str] = {}
        for name, value in self.raw_headers:
            found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return found

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def wait_at_most(self, seconds: float) -> None:
        """Between two pieces of the body."""
        self._line.wait_at_most(seconds)

    def at_eof(self) -> bool:
        return self.ended and not self.pieces

    async def readany(self) -> bytes:
        """What has come, as soon as there is any; b"" at the end.

        Raises:
            aiohttp.ClientPayloadError: the answer was cut.
            TimeoutError: nothing came for too long.
        """
        while not self.pieces and not self.ended:
            if self.error is not None:
                raise self.error
            await self._line.wait()
        pieces, self.pieces, self.buffered = self.pieces, [], 0
        self._line.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self) -> bytes:
        """The rest of the body."""
        whole = bytearray()
        while piece := await self.readany():
            whole += piece
        return bytes(whole)

    def release(self) -> None:
        """Gives the connection back, if the whole answer was read; closes it otherwise."""
        if not self.closed:
            self.closed = True
            self._line.end(reusable=self.at_eof())

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._line.end(reusable=False)


class Poster:
    """Posts over connections that a connector opens. Those that are idle are kept for the next call."""

    def __init__(self, connector: aiohttp.BaseConnector) -> None:
        self._connector = connector
        self._idle: defaultdict[_Origin, list[Line]] = defaultdict(list)
        self._sweeping: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for lines in self._idle.values():
            for line in lines:
                line.close()
        self._idle.clear()

    async def post(
        self,
        url: URL,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        connect_s: float,
        first_byte_s: float,
        ssl: SSLContext | None = None,
    ) -> Answer:
        """Sends the request; returns when the answer's head is there.

        Args:
            headers: as they are sent, with the length of the body and without `Host`.
            ssl: for https; None checks certificates as the system does.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is no answer.
        """
        origin = (url.scheme, url.raw_host, url.port, ssl)
        line = self._take(origin) or await self._open(origin, url, connect_s)
        answer = line.send(_written(url, headers, body), first_byte_s)
        try:
            while not answer.status:
                if answer.error is not None:
                    raise answer.error
                await line.wait()
        except BaseException:
            answer.close()
            raise
        return answer

    def _take(self, origin: _Origin) -> Line | None:
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_S
        while idle:
            line = idle.pop()
            if line.is_open and line.idle_since > oldest and line.is_quiet:
                return line
            line.close()
        return None

    async def _open(self, origin: _Origin, url: URL, connect_s: float) -> Line:
        tls = origin[3]
        request = aiohttp.ClientRequest("POST", url.origin(), ssl=tls if tls is not None else True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        try:
            async with asyncio.timeout(connect_s):  # with the time that it takes to resolve the name
                connection = await self._connector.connect(request, [], timeout)
        except aiohttp.ServerTimeoutError:
            raise
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        if connection.transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        return Line(connection, self, origin)

    def give_back(self, origin: _Origin, line: Line) -> None:
        self._idle[origin].append(line)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 2, self._sweep)

    def _sweep(self) -> None:
        """Closes connections that were idle for long, or that the provider closed."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEP_ALIVE_S
        for origin, lines in list(self._idle.items()):
            kept = []
            for line in lines:
                if line.is_open and line.idle_since > oldest:
                    kept.append(line)
                else:
                    line.close()
            self._idle[origin] = kept
            if not kept:
                del self._idle[origin]
        self._sweeping = loop.call_later(KEEP_ALIVE_S / 2, self._sweep) if self._idle else None


def _written(url: URL, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    start = f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
    lines: list[Any] = [start.encode()]
    for name, value in headers:
        lines += name, b": ", value, b"\r\n"
    lines += b"\r\n", body
    return b"".join(lines)
