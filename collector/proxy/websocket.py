"""WebSockets: relayed where providers serve them, refused elsewhere in the one way that makes clients fall back."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Any, Protocol

import aiohttp
from starlette.types import Receive, Scope, Send

from collector.proxy.decoding import NotDecodableError
from collector.proxy.errors import Error, RelayError, answer
from collector.proxy.headers import RawHeaders, as_texts, forwarded_to_websocket, returned, with_header
from collector.proxy.injected import Injected, decoder_for, without_packing
from collector.proxy.refusal import Refusal, noting_refusal
from collector.proxy.relay import Relay
from collector.proxy.routes import Route
from collector.proxy.tape import Ending

LIVE = ("BidiGenerateContent", "BidiGenerateContentConstrained")
"""Gemini's Live API, with a key and with a token of its own."""
PATHS = ("/realtime", "/responses", *LIVE)
"""Ends of the paths that are WebSockets with OpenAI (Realtime, Responses) and with Gemini."""
GOING_AWAY = 1001
NO_STATUS, ABNORMAL = 1005, 1006
"""Close codes that are never sent: they say that none was."""
_SENT_AS = {NO_STATUS: 1000, ABNORMAL: 1011}
END_S = 5.0
"""How long a connection's end may be read from, when it can be written to no more."""
HTTP_STATUSES = frozenset(int(status) for status in HTTPStatus)
"""Those that a handshake can be answered with."""


class Frames(Protocol):
    """Takes notes of what passes."""

    def sent(self, data: str | bytes) -> None: ...

    def received(self, data: str | bytes) -> None: ...

    def closed(self, ending: Ending) -> None:
        """Told by each side that closes; the first counts."""


def is_served(path: str) -> bool:
    """Whether a provider may answer a handshake there."""
    return path.removesuffix("/").endswith(PATHS)


async def refuse(send: Send, error: RelayError, family: str) -> None:
    """Answers a handshake with an HTTP error."""
    extra = [(b"upgrade", b"http/1.1")] if error.error is Error.UPGRADE else []
    headers, body = answer(error.error, str(error), family, extra)
    await _deny(send, error.error.status, headers, body)


async def _deny(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


async def relay_websocket(
    scope: Scope,
    receive: Receive,
    send: Send,
    relay: Relay,
    route: Route,
    frames: Frames | None,
    extra_headers: list[tuple[bytes, bytes]],
) -> None:
    """Carries one connection until either side closes it.

    Raises:
        RelayError: there is no connection to the provider, and the handshake is unanswered.
    """
    await receive()  # websocket.connect
    session, options = relay.options(route)
    del options["timeout"]
    injected = route.upstream.injected
    headers, subprotocols = forwarded_to_websocket(scope["headers"]), scope["subprotocols"]
    if injected is not None:
        headers = with_header(injected.put_into(headers, route.path), b"accept-encoding", b"identity")
        subprotocols = injected.without_placeholders(subprotocols)
    with noting_refusal() as refusal:
        connecting = asyncio.create_task(
            session.ws_connect(
                route.url,
                headers=as_texts(headers),
                protocols=subprotocols,
                autoclose=True,
                max_msg_size=0,
                **options,
            )
        )
    gone = asyncio.ensure_future(receive())  # before it is accepted, a client can only go
    try:
        await asyncio.wait((connecting, gone), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            await _abandon(connecting)
            return
        upstream = connecting.result()
    except aiohttp.WSServerHandshakeError:
        if not refusal.status:
            raise RelayError(Error.PROTOCOL, "the provider's answer opens no WebSocket") from None
        await _pass_on(send, refusal, injected)
        return
    except TimeoutError:
        raise RelayError(Error.TIMEOUT, "the provider did not answer in time") from None
    except (aiohttp.ClientError, OSError):
        raise RelayError(Error.CONNECT, "the provider can not be reached") from None
    finally:
        await _end(gone)
        if not connecting.done():
            connecting.cancel()
    async with upstream:
        came: RawHeaders = upstream._response.raw_headers
        if injected is not None:
            came = injected.hide_in_headers(came)
        accepted = [
            (name, value)
            for name, value in returned(came)
            if not name.startswith(b"sec-websocket-") and name not in (b"date", b"server", b"content-length")
        ]
        try:
            await send(
                {
                    "type": "websocket.accept",
                    "subprotocol": upstream.protocol,
                    "headers": accepted + extra_headers,
                }
            )
        except OSError:  # the client has gone
            return
        await _pump(receive, send, upstream, frames, injected)


async def _pass_on(send: Send, refusal: Refusal, injected: Injected | None) -> None:
    """Gives the client the provider's answer to its handshake."""
    if injected is not None:
        refusal = _looked_through(refusal, injected)
    status = refusal.status if refusal.status in HTTP_STATUSES else 502
    dropped = (b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in returned(refusal.headers) if name not in dropped]
    await _deny(send, status, kept, refusal.body)


def _looked_through(refusal: Refusal, injected: Injected) -> Refusal:
    """The refusal without the key; without what it says, if nobody here can unpack it."""
    headers, body = refusal.headers, refusal.body
    try:
        if (decoder := decoder_for(headers)) is not None:
            headers, body = tuple(without_packing(headers)), next(decoder.feed(body), b"")
    except NotDecodableError:
        headers, body = tuple(without_packing(headers)), b""
    return Refusal(refusal.status, tuple(injected.hide_in_headers(headers)), injected.hide(body))


async def _abandon(connecting: asyncio.Task[aiohttp.ClientWebSocketResponse]) -> None:
    connecting.cancel()
    with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, OSError):
        upstream = await connecting
        await upstream.close(code=GOING_AWAY)


async def _end(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, OSError, RuntimeError):
        await task


async def _pump(
    receive: Receive,
    send: Send,
    upstream: aiohttp.ClientWebSocketResponse,
    frames: Frames | None,
    injected: Injected | None,
) -> None:
    to_provider = asyncio.create_task(_to_provider(receive, upstream, frames))
    to_client = asyncio.create_task(_to_client(send, upstream, frames, injected))
    try:
        await asyncio.wait((to_provider, to_client), return_when=asyncio.FIRST_COMPLETED)
        if to_provider.done() and to_provider.exception() is not None:
            # What can not be written to has ended; who reads from it tells the client how.
            await asyncio.wait((to_client,), timeout=END_S)
    finally:
        if frames is not None:
            frames.closed(Ending.OURS)
        await _end(to_provider)
        await _end(to_client)


async def _to_provider(
    receive: Receive, upstream: aiohttp.ClientWebSocketResponse, frames: Frames | None
) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            if frames is not None:
                frames.closed(Ending.CLIENT)
            code = message.get("code") or GOING_AWAY
            reason = (message.get("reason") or "").encode()
            await upstream.close(code=GOING_AWAY if code in (NO_STATUS, ABNORMAL) else code, message=reason)
            return
        text: str | None = message.get("text")
        data: Any = text if text is not None else message.get("bytes") or b""
        if frames is not None:
            frames.sent(data)
        if text is not None:
            await upstream.send_str(text)
        else:
            await upstream.send_bytes(data)


async def _to_client(
    send: Send,
    upstream: aiohttp.ClientWebSocketResponse,
    frames: Frames | None,
    injected: Injected | None,
) -> None:
    while True:
        message = await upstream.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: Any = message.data
            if injected is not None:
                data = injected.hide_in_text(data) if isinstance(data, str) else injected.hide(data)
            if frames is not None:
                frames.received(data)
            name = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
            try:
                await send({"type": "websocket.send", name: data})
            except OSError:  # as servers say that the client has gone
                if frames is not None:
                    frames.closed(Ending.CLIENT)
                return
            continue
        if frames is not None:
            frames.closed(Ending.UPSTREAM)
        # Of a close without a status aiohttp says nothing afterwards.
        code = message.data or NO_STATUS if message.type is aiohttp.WSMsgType.CLOSE else upstream.close_code
        code = code or GOING_AWAY
        reason = message.extra if isinstance(message.extra, str) else ""
        with contextlib.suppress(OSError):
            await send(
                {
                    "type": "websocket.close",
                    "code": _SENT_AS.get(code, code),
                    "reason": injected.hide_in_text(reason) if injected is not None else reason,
                }
            )
        return
