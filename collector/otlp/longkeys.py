"""Keys of attributes cut to size.

Touching each key in Python would cost 4 µs a span. That a request has a long one at all is seen on the wire, for 1 µs:
an attribute and, as its first field, its key both have a length of two bytes or more. Only then are keys looked at.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from collector.otlp.signal import Signal
from collector.otlp.values import marker

_TAGS = {Signal.TRACES: b"J", Signal.LOGS: b"2"}
"""What an attribute of an item begins with: its field, 9 of a span and 6 of a log record."""


@lru_cache
def long_keys(signal: Signal, limit: int) -> re.Pattern[bytes]:
    """Finds where a key may be longer than `limit` bytes (128 or more: shorter lengths look like anything); what it
    finds may also be something else."""
    high = (limit + 1) >> 7
    two = b"[\\x80-\\xff][\\x%02x-\\x7f]|" % high if high < 128 else b""
    length = b"(?:%s[\\x80-\\xff]{2,3}[\\x01-\\x7f])" % two
    return re.compile(_TAGS[signal] + length + b"\n" + length)


@lru_cache
def long_json_keys(limit: int) -> re.Pattern[bytes]:
    """The same in JSON, where a text has at least as many bytes as on the wire."""
    return re.compile(rb'"key"\s*:\s*"(?:[^"\\]|\\.){%d}' % (limit + 1))


def cut_keys(item: Any, limit: int) -> bool:
    """Cuts keys longer than `limit` bytes of a span or log record, its events and links. A marker at the end says how
    long the key was. Returns whether one was cut."""
    cut = False
    for owner in (item, *getattr(item, "events", ()), *getattr(item, "links", ())):
        for key in list(owner.attributes):
            if (shorter := cut_key(key, limit)) != key:
                owner.attributes[shorter].CopyFrom(owner.attributes[key])
                del owner.attributes[key]
                cut = True
    return cut


def cut_key(key: str, limit: int) -> str:
    """The key as it is kept."""
    if len(key) * 4 <= limit:
        return key
    encoded = key.encode()
    if len(encoded) <= limit:
        return key
    return encoded[:limit].decode(errors="ignore") + marker(len(encoded))
