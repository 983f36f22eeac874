"""Asking a provider for the token counts of a stream on behalf of a client that did not (`proxy.usage.inject`).

OpenAI and Azure count the tokens of a streamed chat completion only when asked to. The event that says them is kept for
us; the client does not see it. Its other events then have a member `usage` that is null.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from collector.proxy.routes import Route

PROVIDERS = frozenset({"openai", "azure.ai.openai"})
"""Those known to take `stream_options`; servers that do not know it may refuse the request."""
MAX_HELD = 4 << 20
_END = re.compile(rb"\r?\n\r?\n|\r\r")


def may_be_asked(route: Route) -> bool:
    """Whether calls of this route can be streamed chat completions of a provider that takes the option."""
    return route.upstream.provider in PROVIDERS and route.path.endswith("/chat/completions")


def asking_for_usage(body: bytes) -> bytes:
    """The request with the option; as it is, if the client said something about it, or does not stream."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(document, dict) or document.get("stream") is not True:
        return body
    options = document.get("stream_options")
    if options is None and "stream_options" not in document:
        # Everything else stays as it was written.
        start = body.index(b"{") + 1
        return body[:start] + b'"stream_options":{"include_usage":true},' + body[start:]
    if isinstance(options, dict) and "include_usage" not in options:
        document["stream_options"] = {**options, "include_usage": True}
        return orjson.dumps(document)
    return body


class WithoutUsage:
    """A stream as the client asked for it: without the event that only counts tokens. Every other one passes byte for
    byte, as soon as it is whole."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be sent on so far."""
        self._held += piece
        if len(self._held) > MAX_HELD:
            return self.end()
        events, start = [], 0
        for end in _END.finditer(self._held):
            event = self._held[start : end.end()]
            start = end.end()
            if not _only_counts(event):
                events.append(event)
        self._held = self._held[start:]
        return b"".join(events)

    def end(self) -> bytes:
        """What was held back."""
        rest, self._held = self._held, b""
        return b"" if _only_counts(rest) else rest


def _only_counts(event: bytes) -> bool:
    if b'"usage"' not in event or b'"choices"' not in event:
        return False
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(document, dict)
        and document.get("choices") == []
        and isinstance(document.get("usage"), dict)
    )
