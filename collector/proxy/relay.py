"""Requests to the provider and answers back, byte for byte, as they come.

Bare ASGI on one side and aiohttp's client on the other: no framework's objects, nothing parsed, nothing decoded,
at most one read of the socket waiting (measured beside others in the specification: a quarter of the CPU of a
stream through Starlette and HTTPX). What passes is noted on the call's tape, if it has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from starlette.types import Message, Receive, Scope, Send

from collector.config import ProxyTimeouts
from collector.doors.guarded import RESET
from collector.proxy.changing import AnswerChanges, ChangedAnswer
from collector.proxy.decoding import Decoder, NotDecodableError
from collector.proxy.errors import Error, RelayError
from collector.proxy.gate import Gate, GateResolver
from collector.proxy.headers import as_texts, forwarded, returned, with_header
from collector.proxy.injected import decoder_for, unpacking, without_packing
from collector.proxy.keepalive import KeepAlive
from collector.proxy.posting import KEEP_ALIVE_S, MAX_HEADER_BYTES, MAX_HEADERS, Answer, Poster, Silence
from collector.proxy.refusal import refusals
from collector.proxy.routes import Route
from collector.proxy.tape import Ending, Headers, Tape
from collector.proxy.usage import WithoutUsage

log = logging.getLogger(__name__)

WATCH_AFTER_S = 0.02
"""A client that hangs up is noticed from then on: when the provider is at work, not before it has been asked."""
SLICE = 256 << 10
"""Of a large body that came in one piece, so much is handed over at a time."""
NOT_MODIFIED = 304
STREAM = "text/event-stream"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_AUTOMATIC = ("User-Agent", "Content-Type", "Accept", "Accept-Encoding")
"""Headers that aiohttp would add; the client has sent what it wants to send."""


class _Request(aiohttp.ClientRequest):
    """A request without a body is sent without a `Content-Length`, whatever its method: as the client did."""

    GET_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "POST", "PUT", "PATCH"}  # noqa: RUF012 — declared mutable by aiohttp


class _Handler(ResponseHandler):
    def is_connected(self) -> bool:
        """Asked before a connection is used again: what came over an idle one would be taken for the next answer."""
        transport = self.transport
        return (
            super().is_connected()
            and not self.should_close
            and transport is not None
            and Silence(transport).holds
        )


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handler: type[ResponseHandler] = _Handler
        self._factory = partial(handler, loop=self._loop)


class ClientGoneError(Exception):
    """The client closed its connection."""


class Relay:
    """Forwards requests. Use it within a running event loop, and close it.

    Args:
        sse_hints: nginx is told not to hold streams back.
        keepalive_s: after so much silence within a stream of events its client gets a comment; 0: never.
    """

    def __init__(
        self, gate: Gate, timeouts: ProxyTimeouts, *, sse_hints: bool = False, keepalive_s: float = 0.0
    ) -> None:
        self._timeouts = timeouts
        self._sse_hints = sse_hints
        self._keepalive_s = keepalive_s
        self._posters: dict[aiohttp.ClientSession, Poster] = {}
        self._open = self._session(None)
        self._gated = self._session(GateResolver(gate))
        self._environment = _Environment()

    def _session(self, resolver: GateResolver | None) -> aiohttp.ClientSession:
        connector = _Connector(
            limit=0,
            keepalive_timeout=KEEP_ALIVE_S,
            resolver=resolver,
            use_dns_cache=resolver is None,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            # A jar would hand one caller's cookies to the next.
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            # Of WebSockets' handshakes; each other request brings its own.
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._timeouts.connect, sock_read=self._timeouts.first_byte
            ),
            trace_configs=[refusals()],
            skip_auto_headers=_AUTOMATIC,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        # It would send again what may have arrived; clients know best what they want to have tried twice.
        session._retry_connection = False
        self._posters[session] = Poster(connector)
        return session

    async def close(self) -> None:
        for poster in self._posters.values():
            poster.close()
        await self._open.close()
        await self._gated.close()

    def options(self, route: Route) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """The session for a route, and what its requests need beside method, URL and headers."""
        timeouts = route.upstream.timeouts or self._timeouts
        options: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(
                total=None,
                connect=timeouts.connect,
                sock_connect=timeouts.connect,
                sock_read=timeouts.first_byte,
            )
        }
        if route.upstream.tls is not None:
            options["ssl"] = route.upstream.tls
        if route.gated:
            return self._gated, options
        if proxy := self._environment.proxy_for(route):
            options["proxy"] = proxy
        return self._open, options

    def _poster(self, route: Route) -> Poster | None:
        """None where requests go through a proxy of the environment's."""
        if route.gated:
            return self._posters[self._gated]
        return None if self._environment.proxy_for(route) else self._posters[self._open]

    async def relay(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        route: Route,
        tape: Tape | None,
        extra_headers: list[tuple[bytes, bytes]],
        *,
        ours: bool = False,
        changes: AnswerChanges | None = None,
        hide_usage: bool = False,
    ) -> None:
        """Carries one request and its answer. `ours`: it goes to a collector, which wants our headers too.
        `changes`: what is to be changed in the answer. `hide_usage`: the tape has the event that counts the tokens
        of a stream, the client not.

        Returns without having completed the response when the provider's was cut: the server then closes the
        connection, and the client sees that something is missing.

        Raises:
            RelayError: there is no answer, and nothing was sent to the client.
        """
        exchange = _Exchange(receive, tape)
        headers = forwarded(scope["headers"], propagate=route.upstream.propagate, ours=ours)
        if route.upstream.injected is not None:
            headers = route.upstream.injected.put_into(headers, route.path)
            # A packed answer can not be looked through.
            headers = with_header(headers, b"accept-encoding", b"identity")
        response: aiohttp.ClientResponse | Answer | None = None
        try:
            body, chunked = await exchange.open_body(scope)
            poster = self._poster(route)
            if isinstance(body, bytes) and scope["method"] == "POST" and not chunked and poster is not None:
                timeouts = route.upstream.timeouts or self._timeouts
                response = await poster.post(
                    route.url,
                    headers,
                    body,
                    connect_s=timeouts.connect,
                    first_byte_s=timeouts.first_byte,
                    ssl=route.upstream.tls,
                )
            else:
                session, options = self.options(route)
                response = await session.request(
                    scope["method"],
                    route.url,
                    headers=as_texts(headers),
                    data=body,
                    chunked=chunked,
                    allow_redirects=False,
                    **options,
                )
            await self._answer(send, response, route, tape, extra_headers, changes, hide_usage)
        except asyncio.CancelledError:
            if not exchange.client_gone:
                exchange.note(Ending.OURS, Error.DRAINING.word)
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # what is cancelled is a task
            exchange.note(Ending.CLIENT)
        except (ClientGoneError, aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            if exchange.client_gone:
                exchange.note(Ending.CLIENT)
                return
            kind, message = _explain(error)
            if response is not None:
                exchange.note(Ending.UPSTREAM, kind.word)
                if reset := scope.get(RESET):
                    reset()
                return
            exchange.note(Ending.OURS if kind is Error.DENIED else Ending.UPSTREAM, kind.word)
            raise RelayError(kind, message) from None
        except RelayError as error:
            exchange.note(Ending.OURS, error.error.word)
            raise
        finally:
            exchange.close()
            if response is not None and not response.closed:
                response.close()

    async def _answer(
        self,
        send: Send,
        response: aiohttp.ClientResponse | Answer,
        route: Route,
        tape: Tape | None,
        extra_headers: list[tuple[bytes, bytes]],
        changes: AnswerChanges | None,
        hide_usage: bool,
    ) -> None:
        if not _can_be_returned(response):
            raise RelayError(Error.PROTOCOL, "the provider's answer is not HTTP")
        injected = route.upstream.injected
        came: Headers = response.raw_headers
        read = response.content.readany
        is_unpacked = _is_unpacked(response)
        if injected is not None:
            if (decoder := _decoder(came)) is not None:
                read = unpacking(read, decoder)
                came = without_packing(came)
            is_unpacked = True
            came = injected.hide_in_headers(came)
            read = injected.hiding(read)
        headers = returned(came)
        if response.status == NOT_MODIFIED:  # its length is that of what it does not send
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        if self._sse_hints and response.content_type == STREAM:
            headers = with_header(headers, b"x-accel-buffering", b"no")
        is_readable_stream = is_unpacked and response.content_type == STREAM
        hidden = WithoutUsage() if hide_usage and is_readable_stream else None
        passes_as_it_is = hidden is None
        if changes is not None and is_unpacked and response.status < 400:
            passes_as_it_is = False
            read = ChangedAnswer(changes, response.content_type).through(read)
        if not passes_as_it_is:
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        alive = None
        if self._keepalive_s and is_readable_stream and not _has_length(headers):
            alive = KeepAlive(send, self._keepalive_s)
            read = alive.while_waiting(read)
        if tape is not None:
            tape.answered(response.status, came)
        timeouts = route.upstream.timeouts or self._timeouts
        if timeouts.idle != timeouts.first_byte:
            _wait_at_most(response, timeouts.idle)
        start: Message = {
            "type": "http.response.start",
            "status": response.status,
            "headers": headers + extra_headers,
        }
        await send(start)
        more = True
        while more and (piece := await read()):
            if tape is not None:
                tape.received(piece)
            if hidden is not None:
                piece = hidden.feed(piece)
            # Short answers come in one piece, and leave so.
            more = not (passes_as_it_is and injected is None and response.content.at_eof())
            if tape is not None and not more:
                tape.ended(Ending.WHOLE)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            if alive is not None:
                alive.sent(piece)
        if more:
            if tape is not None:
                tape.ended(Ending.WHOLE)
            rest = hidden.end() if hidden is not None else b""
            await send({"type": "http.response.body", "body": rest, "more_body": False})
        response.release()


def _can_be_returned(response: aiohttp.ClientResponse | Answer) -> bool:
    """Whether our server can say it: it knows no status from 600 on, and no header with control characters, which
    aiohttp lets through."""
    if not 200 <= response.status < 600:
        return False
    return isinstance(response, Answer) or not any(
        _CONTROL.search(value) for _, value in response.raw_headers
    )


def _wait_at_most(response: aiohttp.ClientResponse | Answer, seconds: float) -> None:
    """Between two pieces of the answer."""
    if isinstance(response, Answer):
        response.wait_at_most(seconds)
    elif response.connection is not None and (protocol := response.connection.protocol) is not None:
        protocol.read_timeout = seconds


def _has_length(headers: Headers) -> bool:
    return any(name == b"content-length" for name, _ in headers)


def _is_unpacked(response: aiohttp.ClientResponse | Answer) -> bool:
    return response.headers.get("content-encoding", "identity").lower() == "identity"


def _decoder(headers: Headers) -> Decoder | None:
    """Raises: RelayError, where nobody here could read the answer."""
    try:
        return decoder_for(headers)
    except NotDecodableError:
        raise RelayError(
            Error.PROTOCOL, "the provider's answer is packed in a way that can not be looked through"
        ) from None


class _Exchange:
    """The client's side of one call: its body, and whether it is still there."""

    __slots__ = ("_receive", "_soon", "_tape", "_task", "_watch", "client_gone")

    def __init__(self, receive: Receive, tape: Tape | None) -> None:
        self._receive = receive
        self._tape = tape
        self._task = asyncio.current_task()
        self._soon: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self.client_gone = False

    async def open_body(self, scope: Scope) -> tuple[bytes | AsyncIterator[bytes] | None, bool | None]:
        """The body, and whether it goes in chunks because its length is not known.

        One that is already there is passed as it is; a longer one while it comes in.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.client_gone = True
            raise ClientGoneError
        has_length = any(name == b"content-length" for name, _ in scope["headers"])
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            return self._rest(message), None if has_length else True
        self._start_watching()
        if not body:
            return None, None
        if self._tape is not None:
            self._tape.sent(body)
        if len(body) > SLICE:
            return _slices(body), None if has_length else True
        return body, None if has_length else True

    async def _rest(self, message: Message) -> AsyncIterator[bytes]:
        while True:
            if piece := message.get("body"):
                if self._tape is not None:
                    self._tape.sent(piece)
                yield piece
            if not message.get("more_body"):
                break
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.client_gone = True
                raise ClientGoneError
        self._start_watching()

    def _start_watching(self) -> None:
        self._soon = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._watch_now)

    def _watch_now(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None and self._watch is not None:
            self.client_gone = True
            self._task.cancel()

    def note(self, ending: Ending, error: str = "") -> None:
        if self._tape is not None and not self._tape.end_ns:
            self._tape.ended(ending, error)

    def close(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        watch, self._watch = self._watch, None
        if watch is not None and not watch.done():
            watch.cancel()


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), SLICE):
        yield body[start : start + SLICE]


def _explain(error: Exception) -> tuple[Error, str]:
    """The kind of a failure, and words for it that hold no address and no URL."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return Error.DNS, "the provider's name can not be resolved"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return Error.TLS, "no secure connection to the provider"
        case aiohttp.ConnectionTimeoutError():
            return Error.TIMEOUT, "the provider did not take the connection in time"
        case TimeoutError():
            return Error.TIMEOUT, "the provider did not answer in time"
        case aiohttp.ClientConnectorError():
            return Error.CONNECT, "the provider can not be reached"
        case aiohttp.ClientConnectionError() | OSError():
            return Error.CONNECT, "the provider closed the connection without an answer"
    return Error.PROTOCOL, "the provider's answer is not HTTP"


class _Environment:
    """Proxies that the environment asks for (`HTTPS_PROXY`, `NO_PROXY`), read once; never a `.netrc`, whose
    passwords aiohttp would add to requests that are not ours."""

    def __init__(self) -> None:
        self._proxies = urllib.request.getproxies_environment()
        self._known: dict[tuple[str, str], str | None] = {}

    def proxy_for(self, route: Route) -> str | None:
        if not self._proxies:
            return None
        key = (route.url.scheme, route.url.host or "")
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(self, scheme: str, host: str) -> str | None:
        if host == "localhost" or host.startswith("127.") or host == "::1":
            return None
        if urllib.request.proxy_bypass(host):
            return None
        return self._proxies.get(scheme) or self._proxies.get("all")


class _CutResponses(logging.Filter):
    """A response that we cut on purpose is no fault of the application."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in str(record.msg)


def quiet_cut_responses() -> Callable[[], None]:
    """Keeps the server from logging each cut response as an error; returns what undoes it."""
    known = logging.getLogger("uvicorn.error")
    filter_ = _CutResponses()
    known.addFilter(filter_)
    return lambda: known.removeFilter(filter_)


async def drop(receive: Receive) -> None:
    """Reads and forgets what is left of a body, within reason, that the client sees our answer and no reset."""
    left = 1 << 20
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b"")) or 1
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
