"""A body without its content coding, piece by piece, so that each piece keeps the time it came at.

A few bytes can stand for gigabytes: what comes out is given in slices, and whoever takes them says when it is enough.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

Pieces = Iterable[tuple[int, bytes]]
"""(nanoseconds since the call began, bytes)"""

MAX_DECODED = 64 << 20
"""Bytes that come out of one body; a bomb ends here."""
SLICE = 1 << 20
"""Bytes that come out of a piece at a time, about."""


class NotDecodableError(ValueError):
    """The body is not what its `Content-Encoding` says, or in a coding that nobody here knows."""


class Decoder(Protocol):
    """Of one body."""

    @property
    def finished(self) -> bool:
        """The end of what was packed has come, or nothing has."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What comes out of a piece, in slices; take all of them before the next piece.

        Raises:
            NotDecodableError: it is not in this coding.
        """


def decoder_of(coding: str) -> Decoder | None:
    """For a `Content-Encoding`; None if the body has none.

    Raises:
        NotDecodableError: nobody here knows it.
    """
    names = [name for part in coding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in _DECODERS:
        raise NotDecodableError(f"content coding {coding[:64]!r}")
    return _DECODERS[names[0]]()


def decoded(pieces: Pieces, coding: str) -> Iterator[tuple[int, bytes]]:
    """The pieces without their content coding; empty ones are left out. A body that was cut gives what it has.

    Raises:
        NotDecodableError.
    """
    decoder = decoder_of(coding)
    if decoder is None:
        yield from pieces
        return
    size = 0
    for at, piece in pieces:
        for plain in decoder.feed(piece):
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

    @property
    def finished(self) -> bool:
        return not self._begun or self._decompressor.eof or self._members > 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            if self._decompressor.eof:
                self._members += 1
                self._decompressor = zlib.decompressobj(self._window)
            try:
                plain = self._decompressor.decompress(piece, SLICE)
            except zlib.error as error:
                if self._members:
                    return
                if self._begun or self._window != zlib.MAX_WBITS:
                    raise NotDecodableError(str(error)) from None
                self._window = -zlib.MAX_WBITS
                self._decompressor = zlib.decompressobj(self._window)
                continue
            finally:
                self._begun = True
            yield plain
            piece = self._decompressor.unconsumed_tail or self._decompressor.unused_data.lstrip(b"\0")


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._decompressor = brotli.Decompressor()
        self._error = brotli.error
        self._begun = False

    @property
    def finished(self) -> bool:
        return not self._begun or self._decompressor.is_finished()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(piece)
        try:
            plain: bytes = self._decompressor.process(piece, output_buffer_limit=SLICE)
            yield plain
            # It may hold more although it would take more, too: a full slice is never known to be the last.
            while len(plain) >= SLICE or not self._decompressor.can_accept_more_data():
                plain = self._decompressor.process(b"", output_buffer_limit=SLICE)
                yield plain
        except self._error as error:
            raise NotDecodableError(str(error)) from None


class _Zstd:
    _BITE = 256
    """Bytes taken in at a time: four can stand for a block of 128 KiB, and nothing bounds what comes out at once."""

    def __init__(self) -> None:
        import zstandard

        self._new = zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj
        self._decompressor = self._new()
        self._error = zstandard.ZstdError
        self._begun = False

    @property
    def finished(self) -> bool:
        return not self._begun or self._decompressor.eof

    def feed(self, piece: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(piece)
        plain = bytearray()
        try:
            for start in range(0, len(piece), self._BITE):
                bite = piece[start : start + self._BITE]
                while bite:
                    if self._decompressor.eof:
                        self._decompressor = self._new()
                    plain += self._decompressor.decompress(bite)
                    bite = self._decompressor.unused_data if self._decompressor.eof else b""
                if len(plain) >= SLICE:
                    yield bytes(plain)
                    plain.clear()
            yield bytes(plain)
        except self._error as error:
            raise NotDecodableError(str(error)) from None


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}
