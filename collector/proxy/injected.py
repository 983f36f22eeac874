"""A provider's key that the proxy has and its clients do not: put in where their own would be.

Who may use it says so with a key of ours; what a client sends as the provider's key is a placeholder and goes no
further. The key is put in when nothing is left to be noted, and looked for in all that the provider says: servers echo
requests, and the client must not learn the key that way. Answers are asked for unpacked; one that is packed all the
same is unpacked here, and one that can not be is none.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import aiohttp
from yarl import URL

from collector.proxy.decoding import Decoder, NotDecodableError, decoder_of
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

    __slots__ = ("_azure", "_family", "_forms", "_secret")

    def __init__(self, secret: str, family: str, *, azure: bool = False) -> None:
        self._secret = secret.encode()
        self._forms = dict(_forms(secret))
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
        for form, hidden in self._forms.items():
            data = data.replace(form, hidden)
        return data

    def hide_in_text(self, text: str) -> str:
        for form, hidden in self._forms.items():
            text = text.replace(form.decode(), hidden.decode())
        return text

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
        """How many bytes at the end may be the beginning of the key, in any of its forms."""
        return max(_begun_at_end(data, form) for form in self._forms)


def _begun_at_end(data: bytes, form: bytes) -> int:
    at = data.find(form[:1], max(0, len(data) - len(form) + 1))
    while at >= 0 and not form.startswith(data[at:]):
        at = data.find(form[:1], at + 1)
    return len(data) - at if at >= 0 else 0


def _forms(secret: str) -> Iterator[tuple[bytes, bytes]]:
    """(the key as it may be written, what stands there instead, as long): as it is; in texts of JSON, HTML and URLs,
    where it has letters that these write in another way; in base64, where it begins at any of three places."""
    for written in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape(secret),
        quote(secret, safe=""),
        quote(secret),
    ):
        yield written.encode(), b"*" * len(written)
    for before in range(3):
        # What the letters before and after have a part in says next to nothing of the key, and may be anything.
        first, after = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            packed, stars = (encode(b"*" * before + text) for text in (secret.encode(), b"*" * len(secret)))
            yield packed[first:after], stars[first:after]


# --------------------------------------------------------------------------- answers that are packed all the same


def decoder_for(headers: RawHeaders) -> Decoder | None:
    """What unpacks an answer with these headers; None if it is not packed.

    Raises:
        NotDecodableError: nobody here could.
    """
    codings = [value.decode("latin-1") for name, value in headers if name.lower() == b"content-encoding"]
    return decoder_of(",".join(codings))


def without_packing(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Headers of the same answer, unpacked."""
    return [pair for pair in headers if pair[0].lower() not in (b"content-encoding", b"content-length")]


def unpacking(read: Read, decoder: Decoder) -> Read:
    """A reader of the same without its content coding. Its slices are bounded, whatever comes out of a piece."""
    slices: Iterator[bytes] = iter(())

    async def give() -> bytes:
        """Raises: aiohttp.ClientPayloadError, where it is not packed as it says, or not whole."""
        nonlocal slices
        try:
            while True:
                for plain in slices:
                    if plain:
                        return plain
                piece = await read()
                if not piece:
                    break
                slices = decoder.feed(piece)
        except NotDecodableError as error:
            raise aiohttp.ClientPayloadError(str(error)) from None
        if not decoder.finished:
            raise aiohttp.ClientPayloadError("the answer is cut")
        return b""

    return give
