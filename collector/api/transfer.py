"""How answers travel: not again if the client has them, and compressed if it can read that."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

import zstandard
from starlette.requests import Request
from starlette.responses import Response

Result = TypeVar("Result")

SMALLEST_BYTES = 1 << 10
"""Shorter answers are sent as they are."""
THREAD_FROM_BYTES = 64 << 10
"""Longer ones are hashed and compressed beside the event loop."""
FINAL = "final"
"""Of a request's scope: what it asks for belongs to a run that has ended."""
ZSTD_LEVEL = 3
GZIP_LEVEL = 1
_GZIP_WINDOW = 31
"""The largest window, with gzip's header."""


async def lightened(request: Request, response: Response) -> Response:
    """The answer to a GET that succeeded as a whole: with an ETag, as 304 if that is the one that the client has, else
    compressed. Streams and everything else pass as they are.

    What belongs to a run that has ended has a strong ETag, one for each compression, and may be kept by the client that
    asks whether it still holds: late spans, tags and deletions still change it.
    """
    body = getattr(response, "body", None)
    if not isinstance(body, bytes) or response.status_code != 200 or "content-encoding" in response.headers:
        return response
    if request.method in ("GET", "HEAD"):
        digest = await _beside(_digest, body)
        is_final = request.scope.get(FINAL, False)
        if is_final:
            response.headers["Cache-Control"] = "private, no-cache"
        response.headers["ETag"] = f'"{digest}"' if is_final else f'W/"{digest}"'
        if _is_known(digest, request.headers.get("if-none-match", "")):
            kept = {
                name: response.headers[name] for name in ("etag", "cache-control") if name in response.headers
            }
            return Response(status_code=304, headers=kept)
    if len(body) < SMALLEST_BYTES:
        return response
    response.headers.append("Vary", "Accept-Encoding")
    encoding = chosen(request.headers.get("accept-encoding", ""))
    if encoding:
        pack = _zstd if encoding == "zstd" else _gzip
        response.body = await _beside(pack, body)
        response.headers["Content-Encoding"] = encoding
        response.headers["Content-Length"] = str(len(response.body))
        if response.headers.get("etag", "").startswith('"'):
            response.headers["ETag"] = f'{response.headers["etag"][:-1]}-{encoding}"'
    return response


def chosen(accepted: str) -> str:
    """zstd or gzip, whichever a client that says so in `Accept-Encoding` rather takes; "" if neither."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.strip().partition(";")
        try:
            weights[name.strip()] = float(parameters.strip().removeprefix("q=") or 1)
        except ValueError:
            weights[name.strip()] = 0.0
    usual = weights.get("*", 0.0)
    zstd, gzip = weights.get("zstd", usual), weights.get("gzip", usual)
    if max(zstd, gzip) <= 0:
        return ""
    return "zstd" if zstd >= gzip else "gzip"


def _is_known(digest: str, given: str) -> bool:
    """RFC 9110 §13.1.2: weak comparison, `*` for any."""
    known = ("*", *(f'"{digest}{packed}"' for packed in ("", "-zstd", "-gzip")))
    return any(one.strip().removeprefix("W/") in known for one in given.split(","))


async def _beside(work: Callable[[bytes], Result], body: bytes) -> Result:
    """Does the work in a thread if it is much."""
    return work(body) if len(body) < THREAD_FROM_BYTES else await asyncio.to_thread(work, body)


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=12).hexdigest()


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return packer.compress(body) + packer.flush()
