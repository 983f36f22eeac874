"""Cross-origin requests to the OTLP door, for the origins on a list. Off without one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALLOWED_HEADERS = b"content-type, content-encoding, authorization, traceparent, x-api-key, x-loop-project"
PREFLIGHT_AGE_S = b"7200"


class Cors:
    """ASGI middleware: preflights are answered without a key, and every other answer, errors too, says that the origin
    may read it. Credentials such as cookies are never allowed; keys travel in headers.

    Args:
        origins: `https://app.example.com`, or `https://*.example.com` for all names below.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self.allow(origins)

    def allow(self, origins: Sequence[str]) -> None:
        """Replaces the list."""
        patterns = (
            re.escape(origin.lower().rstrip("/")).replace(r"\*", r"[a-z0-9.-]*") for origin in origins
        )
        self._allowed = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if origins else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._allowed is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin: bytes = headers.get(b"origin", b"")
        if not origin or not self._allowed.fullmatch(origin.decode("latin-1").lower()):
            await self._app(scope, receive, send)
            return
        allowed = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            answer = [
                *allowed,
                (b"access-control-allow-methods", b"POST"),
                (b"access-control-allow-headers", _asked(headers) or ALLOWED_HEADERS),
                (b"access-control-max-age", PREFLIGHT_AGE_S),
            ]
            await send({"type": "http.response.start", "status": 204, "headers": answer})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *allowed]
            await send(message)

        await self._app(scope, receive, send_allowed)


def _asked(headers: dict[bytes, bytes]) -> bytes:
    """The headers that the page wants to send, of those that exporters have: any `x-` one, too."""
    known = {name.strip() for name in ALLOWED_HEADERS.split(b",")}
    asked = (name.strip().lower() for name in headers.get(b"access-control-request-headers", b"").split(b","))
    return b", ".join(name for name in asked if name in known or re.fullmatch(rb"x-[a-z0-9-]+", name))
