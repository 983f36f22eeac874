"""Tapes without traffic: a call as it would have been noted, in pieces of any size."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from collector.proxy.context import Context
from collector.proxy.routes import Upstream
from collector.proxy.tape import Budget, Ending, Tape

MS = 1_000_000


def tape(
    path: str,
    request: Any,
    pieces: Sequence[bytes],
    *,
    status: int = 200,
    media_type: str = "text/event-stream",
    coding: str = "",
    ending: Ending = Ending.WHOLE,
    headers: dict[str, str] | None = None,
    response_headers: dict[str, str] | None = None,
    context: Context | None = None,
    family: str = "openai",
    span_id: str = "1" * 16,
    started_ns: int = 1_700_000_000_000_000_000,
    client: str = "127.0.0.1",
    step_ns: int = MS,
) -> Tape:
    """A finished call whose pieces came a step apart."""
    noted = Tape(
        Upstream("openai", "https://api.openai.com", "openai", family),
        "POST",
        path,
        context or Context(),
        span_id,
        Budget(1 << 30),
        8 << 20,
        request_headers=[(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        client=client,
        started_ns=started_ns,
    )
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    noted.sent(body)
    noted.status = status
    noted.response_headers = [
        (b"Content-Type", media_type.encode()),
        *((name.encode(), value.encode()) for name, value in (response_headers or {}).items()),
    ]
    if coding:
        noted.response_headers.append((b"content-encoding", coding.encode()))
    for number, piece in enumerate(pieces, 1):
        noted.received(piece)
        noted.arrivals[-1:] = [number * step_ns]
    noted.ended(ending)
    noted.end_ns = (len(pieces) + 1) * step_ns
    return noted


def cut(whole: bytes, places: Sequence[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    edges = [0, *sorted({place % (len(whole) + 1) for place in places}), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges) if end > start]
