"""Compressed bodies, never inflated beyond a limit nor faster than text can be packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from collector.otlp.limits import DEFAULT

ACCEPTED = "gzip, deflate, zstd, identity"
RATIO_FROM_BYTES = 1 << 20
"""Inflated bytes from which the ratio is looked at."""
MAX_MEMBERS = 64
"""Of gzip, or frames of zstd, in one body."""
MAX_ZSTD_WINDOW = 8 << 20
"""A frame may ask for gigabytes."""
ZSTD_SLICE = 512
"""Compressed bytes taken at a time, small enough that a bomb is noticed before it has gone off."""
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window arguments of zlib that choose the container."""


class TooLargeError(ValueError):
    """The body is larger than the limit once inflated, or packed tighter than any trace."""


class CorruptBodyError(ValueError):
    """The body is not what its Content-Encoding says."""


class UnknownEncodingError(ValueError):
    """No coding of that name is taken."""


def is_compressed(encoding: str) -> bool:
    return bool(_codings(encoding))


def inflate(encoding: str, body: bytes, limit: int, ratio: int = DEFAULT.inflate_ratio) -> bytes:
    """The body without its `Content-Encoding`.

    Args:
        limit: bytes that it may have then.
        ratio: how many times its size that may be, see `Limits`.

    Raises:
        UnknownEncodingError, CorruptBodyError, TooLargeError.
    """
    codings = _codings(encoding)
    if not codings:
        return body
    if len(codings) > 1 or codings[0] not in _INFLATERS:
        raise UnknownEncodingError(f"Content-Encoding {encoding[:64]!r} is not taken; send {ACCEPTED}")
    allowed = min(limit, max(RATIO_FROM_BYTES, ratio * len(body)))
    inflated = _INFLATERS[codings[0]](body, allowed)
    if len(inflated) > allowed:
        if allowed < limit:
            raise TooLargeError(f"the body inflates to more than {ratio} times its size")
        raise TooLargeError(f"the body is larger than {limit} bytes once inflated")
    return inflated


def _codings(encoding: str) -> list[str]:
    return [coding for part in encoding.split(",") if (coding := part.strip().lower()) not in _IDENTITY]


def _gzip(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    size = members = 0
    while body:
        members += 1
        if members > MAX_MEMBERS:
            raise CorruptBodyError(f"the body has more than {MAX_MEMBERS} gzip members")
        part, rest = _member(body, _GZIP, limit - size)
        parts.append(part)
        size += len(part)
        body = rest.lstrip(b"\0")  # padding behind the last member
        if size > limit:
            break
    return b"".join(parts)


def _deflate(body: bytes, limit: int) -> bytes:
    for window in (_ZLIB, _RAW):  # some clients leave the zlib header out
        try:
            inflated, rest = _member(body, window, limit)
        except CorruptBodyError:
            continue
        if not rest:
            return inflated
    raise CorruptBodyError("the body is not deflate")


def _member(body: bytes, window: int, limit: int) -> tuple[bytes, bytes]:
    decompressor = zlib.decompressobj(window)
    try:
        inflated = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise CorruptBodyError(f"the body can not be inflated: {error}") from None
    if not decompressor.eof and len(inflated) <= limit:
        raise CorruptBodyError("the compressed body ends too early")
    return inflated, decompressor.unused_data


def _zstd(body: bytes, limit: int) -> bytes:
    import zstandard

    parts: list[bytes] = []
    size = at = frames = 0
    try:
        while at < len(body) and size <= limit:
            frames += 1
            if frames > MAX_MEMBERS:
                raise CorruptBodyError(f"the body has more than {MAX_MEMBERS} zstd frames")
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
            while size <= limit and not decompressor.eof:
                if at >= len(body):
                    raise CorruptBodyError("the compressed body ends too early")
                part = decompressor.decompress(body[at : at + ZSTD_SLICE])
                at = min(at + ZSTD_SLICE, len(body))
                size += len(part)
                parts.append(part)
            at -= len(decompressor.unused_data)  # the next frame begins there
    except zstandard.ZstdError as error:
        raise CorruptBodyError(f"the body can not be inflated: {error}") from None
    return b"".join(parts)


_IDENTITY = frozenset({"", "identity", "none"})
_INFLATERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
