"""Our own answers: told apart from the provider's by `X-Loop-Error`, and shaped so that its SDK understands them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import orjson

Headers = list[tuple[bytes, bytes]]


class Error(Enum):
    """What went wrong, as `X-Loop-Error` says it, with the HTTP status; `final`: trying again is no use."""

    ROUTE = ("route", 404, True)
    DENIED = ("denied", 403, True)
    KEY = ("key", 401, True)
    DNS = ("dns", 502, False)
    CONNECT = ("connect", 502, False)
    TLS = ("tls", 502, True)
    PROTOCOL = ("protocol", 502, False)
    TIMEOUT = ("timeout", 504, False)
    DRAINING = ("draining", 503, False)
    UPGRADE = ("upgrade", 426, True)

    def __init__(self, word: str, status: int, final: bool) -> None:
        self.word = word
        self.status = status
        self.final = final


class RelayError(Exception):
    """A request that gets an answer of ours. The message is for the client: it holds no address that was
    resolved and nothing of the request but its path."""

    def __init__(self, error: Error, message: str) -> None:
        super().__init__(message)
        self.error = error


def answer(
    error: Error, message: str, family: str, extra: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[Headers, bytes]:
    """Headers and body of an error, in the words of the API that the client speaks."""
    body: object
    if family == "anthropic":
        body = {"type": "error", "error": {"type": "proxy_error", "message": message}}
    elif family == "gemini":
        body = {"error": {"code": error.status, "message": message, "status": "PROXY_ERROR"}}
    elif family == "ollama":
        body = {"error": message}
    elif family == "cohere":
        body = {"message": message}
    elif family == "bedrock":
        body = {"message": message, "__type": "ProxyError"}
    else:
        body = {"error": {"message": message, "type": "proxy_error", "param": None, "code": error.word}}
    written = orjson.dumps(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(written)).encode()),
        (b"x-loop-error", error.word.encode()),
        *extra,
    ]
    if error.final:
        headers.append((b"x-should-retry", b"false"))
    return headers, written
