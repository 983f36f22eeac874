"""What a provider says instead of opening a WebSocket.

aiohttp's client tells of a refused handshake its status and headers; why it was refused is in the body, which the
client of ours would have got without us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

MAX_BYTES = 1 << 20
READ_S = 5.0
SWITCHING = 101


@dataclass(slots=True)
class Refusal:
    """An answer that is no WebSocket; `status` is 0 if there was none."""

    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


_noted: ContextVar[Refusal | None] = ContextVar("refusal", default=None)


@contextmanager
def noting_refusal() -> Iterator[Refusal]:
    """While it is entered, a refusal of a handshake that begins in it is kept."""
    refusal = Refusal()
    token = _noted.set(refusal)
    try:
        yield refusal
    finally:
        _noted.reset(token)


async def _note(_: aiohttp.ClientSession, __: SimpleNamespace, ended: aiohttp.TraceRequestEndParams) -> None:
    if ended.response.status != SWITCHING:
        await _keep(ended.response)


async def _stay(
    _: aiohttp.ClientSession, __: SimpleNamespace, sent_on: aiohttp.TraceRequestRedirectParams
) -> None:
    """aiohttp would follow, with all keys in headers, to wherever the provider says, whom no gate has judged."""
    response = sent_on.response
    await _keep(response)
    response.close()
    raise aiohttp.WSServerHandshakeError(
        response.request_info, response.history, status=response.status, headers=response.headers
    )


async def _keep(response: aiohttp.ClientResponse) -> None:
    refusal = _noted.get()
    if refusal is None:
        return
    refusal.status = response.status
    refusal.headers = response.raw_headers
    body = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(READ_S):
            while len(body) < MAX_BYTES and (piece := await response.content.readany()):
                body += piece
    refusal.body = bytes(body)


def refusals() -> aiohttp.TraceConfig:
    """What a client session needs so that refusals are noted, and redirections are refusals. Those of other requests
    are not followed anyway."""
    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(_stay)
    config.on_request_end.append(_note)
    return config
