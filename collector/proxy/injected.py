"""A provider's key that the proxy has and its clients do not: put in where their own would be.

Who may use it says so with a key of ours; what a client sends as the provider's key is a placeholder and goes no
further. The key is put in when nothing is left to be noted, and looked for in all that the provider says: servers echo
requests, and the client must not learn the key that way.
"""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from collector.proxy.headers import RawHeaders, with_header
from collector.proxy.posting import Read

_BEARER = b"authorization"
_PLACES = (b"x-api-key", b"api-key", b"x-goog-api-key")
"""Headers in which SDKs send keys, and nothing else."""
_PLACE_OF = {"anthropic": b"x-api-key", "gemini": b"x-goog-api-key"}
"""Where a family's own API takes keys; what imitates OpenAI's, and all others, take them as a bearer's."""
_LIKE_OPENAI = ("/chat/completions", "/openai/")
_QUERY = frozenset({"key", "api_key", "api-key", "access_token"})
_SUBPROTOCOL = "openai-insecure-api-key."
"""Before a key that a web page names as a WebSocket's protocol, since it can add no header."""


class Injected:
    """One upstream's key. Never shown, neither by `repr` nor in what it raises.

    Args:
        secret: at least 16 printable ASCII characters without spaces, so that it is nothing that models say.
        family: whose API the upstream speaks.
        azure: the upstream is Azure's, which has a header of its own.
    """

    __slots__ = ("_azure", "_family", "_hidden", "_secret")

    def __init__(self, secret: str, family: str, *, azure: bool = False) -> None:
        self._secret = secret.encode()
        self._hidden = b"*" * len(self._secret)
        self._family = family
        self._azure = azure

    def __repr__(self) -> str:
        return "Injected(…)"

    @property
    def headers(self) -> Mapping[bytes, str]:
        """It as a header, for who gives keys their names."""
        return {b"x-api-key": self._secret.decode()}

    # ------------------------------------------------------------------- in what is sent

    def put_into(self, headers: RawHeaders, path: str) -> list[tuple[bytes, bytes]]:
        """Headers with this key and no other; in the header in which the SDK has its own, if that is one for keys."""
        given = {name for name, _ in headers}
        place = next((name for name in _PLACES if name in given), None) or self._place(path)
        kept = [(name, value) for name, value in headers if name not in (*_PLACES, _BEARER)]
        return with_header(kept, place, b"Bearer " + self._secret if place == _BEARER else self._secret)

    def _place(self, path: str) -> bytes:
        if self._azure:
            return b"api-key"
        own = _PLACE_OF.get(self._family, _BEARER)
        return _BEARER if any(part in path for part in _LIKE_OPENAI) else own

    @staticmethod
    def without_placeholder(url: URL) -> URL:
        """The URL with no key in its query."""
        parts = url.raw_query_string.split("&")
        kept = [part for part in parts if part.partition("=")[0].lower() not in _QUERY]
        if len(kept) == len(parts):
            return url
        whole = str(url).partition("?")[0]
        return URL(f"{whole}?{'&'.join(kept)}" if kept else whole, encoded=True)

    @staticmethod
    def without_placeholders(subprotocols: list[str]) -> list[str]:
        """A WebSocket's protocols that are none to send a key with."""
        return [name for name in subprotocols if not name.startswith(_SUBPROTOCOL)]

    # ------------------------------------------------------------------- in what comes back

    def hide(self, data: bytes) -> bytes:
        """The same, as long as it was, without the key."""
        return data.replace(self._secret, self._hidden)

    def hide_in_text(self, text: str) -> str:
        return text.replace(self._secret.decode(), self._hidden.decode())

    def hide_in_headers(self, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
        return [(self.hide(name), self.hide(value)) for name, value in headers]

    def hiding(self, read: Read) -> Read:
        """A reader of the same without the key, wherever it is cut. Only what may be the key's beginning waits for
        what comes next."""
        held = b""

        async def give() -> bytes:
            nonlocal held
            while piece := await read():
                whole = self.hide(held + piece)
                begun = self._begun_at_end(whole)
                held = whole[len(whole) - begun :]
                if shown := whole[: len(whole) - begun]:
                    return shown
            rest, held = held, b""
            return rest

        return give

    def _begun_at_end(self, data: bytes) -> int:
        """How many bytes at the end may be the beginning of the key."""
        longest = min(len(self._secret) - 1, len(data))
        if data.find(self._secret[:1], len(data) - longest) < 0:
            return 0
        return next((size for size in range(longest, 0, -1) if data.endswith(self._secret[:size])), 0)
