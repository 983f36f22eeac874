"""The captured copy of a body, decoded piece by piece, so that each piece keeps the time it came at."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

Pieces = Iterable[tuple[int, bytes]]
"""(nanoseconds since the call began, bytes)"""

MAX_DECODED = 64 << 20
"""Bytes that come out of one body; a bomb ends here."""


class NotDecodableError(ValueError):
    """The body is not what its `Content-Encoding` says, or in a coding that nobody here knows."""


class _Decoder(Protocol):
    def feed(self, piece: bytes) -> bytes: ...


def decoded(pieces: Pieces, coding: str) -> Iterator[tuple[int, bytes]]:
    """The pieces without their content coding; empty ones are left out. A body that was cut gives what it has.

    Raises:
        NotDecodableError.
    """
    names = [name for part in coding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not names:
        yield from pieces
        return
    if len(names) > 1 or names[0] not in _DECODERS:
        raise NotDecodableError(f"content coding {coding[:64]!r}")
    decoder = _DECODERS[names[0]]()
    size = 0
    for at, piece in pieces:
        plain = decoder.feed(piece)
        size += len(plain)
        if size > MAX_DECODED:
            raise NotDecodableError("more than can be kept comes out of the body")
        if plain:
            yield at, plain


class _Zlib:
    """gzip, of any number of members, and deflate with its header or without. What follows the last member and is none
    is passed over, as every client does."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._begun = False
        self._members = 0
        """That are whole."""
        self._decompressor: Any = zlib.decompressobj(window)

    def feed(self, piece: bytes) -> bytes:
        parts = []
        while piece:
            if self._decompressor.eof:
                self._members += 1
                self._decompressor = zlib.decompressobj(self._window)
            try:
                parts.append(self._decompressor.decompress(piece, MAX_DECODED))
            except zlib.error as error:
                if self._members:
                    break
                if self._begun or self._window != zlib.MAX_WBITS:
                    raise NotDecodableError(str(error)) from None
                self._window = -zlib.MAX_WBITS
                self._decompressor = zlib.decompressobj(self._window)
                continue
            finally:
                self._begun = True
            piece = self._decompressor.unconsumed_tail or self._decompressor.unused_data.lstrip(b"\0")
        return b"".join(parts)


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._decompressor = brotli.Decompressor()
        self._error = brotli.error

    def feed(self, piece: bytes) -> bytes:
        try:
            plain: bytes = self._decompressor.process(piece)
        except self._error as error:
            raise NotDecodableError(str(error)) from None
        return plain


class _Zstd:
    def __init__(self) -> None:
        import zstandard

        self._new = zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj
        self._decompressor = self._new()
        self._error = zstandard.ZstdError

    def feed(self, piece: bytes) -> bytes:
        parts = []
        try:
            while piece:
                if self._decompressor.eof:
                    self._decompressor = self._new()
                parts.append(self._decompressor.decompress(piece))
                piece = self._decompressor.unused_data if self._decompressor.eof else b""
        except self._error as error:
            raise NotDecodableError(str(error)) from None
        return b"".join(parts)


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}
