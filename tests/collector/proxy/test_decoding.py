"""Content codings are taken off as bodies come, and a body of a few bytes costs no memory."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable
from itertools import islice

import brotli
import pytest
import zstandard

from collector.proxy.decoding import MAX_DECODED, SLICE, NotDecodableError, decoded, decoder_of

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda plain: gzip.compress(plain, 1),
    "deflate": lambda plain: zlib.compress(plain, 1),
    "br": lambda plain: brotli.compress(plain, quality=1),
    "zstd": lambda plain: zstandard.compress(plain, level=1),
}
BODIES = {
    "nothing": b"",
    "a letter": b"x",
    "text": json.dumps(
        [{"number": number, "text": "hello " * (number % 7)} for number in range(60_000)]
    ).encode(),
    "noise": os.urandom(3 << 20),
    "one letter, often": b"y" * (5 << 20),
}


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("name", BODIES)
def test_what_was_packed_comes_out_however_it_was_cut(coding: str, name: str) -> None:
    body = BODIES[name]
    packed = PACKED[coding](body)
    for size in (len(packed), 1 << 16, 701):
        pieces = [(start, packed[start : start + size]) for start in range(0, len(packed), size)]
        assert b"".join(plain for _, plain in decoded(pieces, coding)) == body


@pytest.mark.parametrize("coding", PACKED)
def test_whether_all_of_it_has_come_is_known(coding: str) -> None:
    packed = PACKED[coding](b"hello" * 99)
    decoder = decoder_of(coding)
    assert decoder is not None
    assert decoder.finished  # an answer without a body is whole
    for piece, whole in ((packed[:-1], False), (packed[-1:], True)):
        list(decoder.feed(piece))
        assert decoder.finished is whole


@pytest.mark.parametrize("coding", PACKED)
def test_a_bomb_is_let_out_in_slices_and_ends(coding: str) -> None:
    packed = PACKED[coding](bytes(MAX_DECODED + SLICE))
    decoder = decoder_of(coding)
    assert decoder is not None
    assert all(len(plain) <= 9 * SLICE for plain in islice(decoder.feed(packed), 4))
    with pytest.raises(NotDecodableError):
        list(decoded([(0, packed)], coding))
