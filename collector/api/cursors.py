"""Opaque page cursors: the last row's sort key, bound to the filter it was made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson

from collector.api.problems import Problem


def encode(key: tuple[Any, ...], binding: str) -> str:
    """`binding` is any text that is equal for equal filters."""
    return base64.urlsafe_b64encode(orjson.dumps([_digest(binding), *key])).decode().rstrip("=")


def decode(cursor: str, binding: str, *kinds: type) -> tuple[Any, ...]:
    """The sort key.

    Args:
        kinds: types of its parts, if they are always the same.

    Raises:
        Problem: 400, if the cursor is damaged or was made for another filter.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        digest, *key = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise _mismatch("is not one of ours") from None
    if digest != _digest(binding):
        raise _mismatch("was made for another filter; start again without it")
    if kinds and tuple(type(part) for part in key) != kinds:
        raise _mismatch("is not one of ours")
    return tuple(key)


def run_key(cursor: str, binding: str) -> tuple[int | float, str]:
    """The sort key of a run.

    Raises: Problem: as `decode`.
    """
    key = decode(cursor, binding)
    if len(key) != 2 or not isinstance(key[0], (int, float)) or not isinstance(key[1], str):
        raise _mismatch("is not one of ours")
    return key[0], key[1]


def _digest(binding: str) -> str:
    return hashlib.blake2b(binding.encode(), digest_size=6).hexdigest()


def _mismatch(detail: str) -> Problem:
    return Problem(
        400,
        f"cursor {detail}",
        kind="cursor-mismatch",
        errors=[{"parameter": "cursor", "detail": detail}],
    )
