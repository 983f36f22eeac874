"""Headers on their way through: what belongs to one connection, what is ours, and what may be kept of the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

RawHeaders = Iterable[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"expect"}
"""`Expect` is answered by our own server, which has the body before the provider is asked."""
_OURS = (
    b"x-loop-",
    b"x-eddyline-",
    b"helicone-session-id",
    b"helicone-session-path",
    b"helicone-session-name",
    b"helicone-user-id",
    b"helicone-property-",
    b"helicone-omit-request",
    b"helicone-omit-response",
)
_PROPAGATION = frozenset({b"traceparent", b"tracestate", b"baggage"})

CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "identity"})
"""Content codings that the captured copy can be read in."""


def forwarded(
    headers: RawHeaders, *, propagate: bool = True, ours: bool = False
) -> list[tuple[bytes, bytes]]:
    """Request headers for the provider: order and duplicates as the client sent them.

    Args:
        propagate: whether the trace context goes along.
        ours: whether `X-Loop-*` does, which is for collectors only.
    """
    found: list[tuple[bytes, bytes]] = []
    dropped = _NOT_FORWARDED
    for name, value in headers:
        if name in dropped:
            if name == b"connection" and value.lower() not in (b"keep-alive", b"close", b"upgrade"):
                dropped = dropped | _tokens(value)
                found = [(kept, its) for kept, its in found if kept not in dropped]
            continue
        if not ours and name.startswith(_OURS):
            continue
        if not propagate and name in _PROPAGATION:
            continue
        if name == b"accept-encoding":
            value = readable_codings(value)
        found.append((name, value))
    return found


def forwarded_to_websocket(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """As `forwarded`, without what a WebSocket's handshake negotiates anew."""
    return [pair for pair in forwarded(headers) if not pair[0].startswith(b"sec-websocket-")]


def as_texts(headers: RawHeaders) -> list[tuple[str, str]]:
    """Headers as aiohttp's client takes them."""
    return [(name.decode("latin-1"), _text(value)) for name, value in headers]


def returned(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Response headers for the client. The length goes when the body comes in chunks: never both."""
    dropped: frozenset[bytes] = _HOP_BY_HOP
    given = [(name.lower(), value) for name, value in headers]
    for name, value in given:
        if name == b"transfer-encoding" and b"chunked" in value.lower():
            dropped = dropped | {b"content-length"}
        elif name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            dropped = dropped | _tokens(value)
    return [(name, value) for name, value in given if name not in dropped]


def with_header(headers: RawHeaders, name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    """Headers of which the one of this name, in lower case, has this value."""
    return [*((known, its) for known, its in headers if known != name), (name, value)]


def readable_codings(value: bytes) -> bytes:
    """An `Accept-Encoding` without codings that we could not read; unchanged if there are none."""
    kept = []
    changed = False
    for part in value.split(b","):
        coding = part.partition(b";")[0].strip().lower().decode("latin-1")
        if coding in CODINGS or not coding:
            kept.append(part.strip())
        else:
            changed = True
    return b", ".join(kept) or b"identity" if changed else value


def _tokens(value: bytes) -> frozenset[bytes]:
    """Headers that `Connection` names. Never the one that says where a body ends: without it the rest of a request
    would be the next one on the connection."""
    return frozenset(token.strip().lower() for token in value.split(b",")) - {b"content-length"}


def _text(value: bytes) -> str:
    """As the client library will encode it again."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


# --------------------------------------------------------------------------- what may be kept

_KEPT = re.compile(
    r"content-(?:type|length|encoding)|accept(?:-encoding)?|user-agent|date|server|via|traceparent"
    r"|(?:anthropic|openai)-(?:version|beta|organization|project|processing-ms|organization-id|workspace-id)"
    r"|x-stainless-.+|(?:retry-after|x-should-retry)(?:-ms)?|.*ratelimit-.+|(?:x-)?request-id|apim-request-id"
    r"|x-amzn-(?:requestid|errortype|bedrock-.+)|x-ms-region|server-timing|cf-ray|transfer-encoding",
)


def kept(headers: RawHeaders) -> Iterator[tuple[str, str]]:
    """Headers as they may be stored: those of a list with their values, of the others only how long they are."""
    for name, value in headers:
        known = name.lower().decode("latin-1")
        yield known, _text(value) if _KEPT.fullmatch(known) else f"[redacted len={len(value)}]"


def by_name(headers: RawHeaders) -> dict[bytes, str]:
    """Values by name in lower case, of each name the first."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        found.setdefault(name.lower(), _text(value))
    return found
