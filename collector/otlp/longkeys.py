"""Keys of attributes cut to size."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from collector.otlp.values import cut_text


def any_longer(keys: Iterable[str], limit: int) -> bool:
    """Whether a key has more than `limit` bytes."""
    # Most are far below, also if each character had four.
    return max(map(len, keys), default=0) * 4 > limit and any(len(key.encode()) > limit for key in keys)


@lru_cache
def long_json_keys(limit: int) -> re.Pattern[bytes]:
    """Finds where a key of a JSON body may be longer than `limit` bytes; what it finds may also be something else. A
    text has at least as many bytes there as on the wire."""
    return re.compile(rb'"key"\s*:\s*"(?:[^"\\]|\\.){%d}' % (limit + 1))


def cut_keys(item: Any, limit: int) -> bool:
    """Cuts keys longer than `limit` bytes of a span or log record, its events and links. A marker at the end says how
    long the key was. Returns whether one was cut."""
    cut = False
    for owner in (item, *getattr(item, "events", ()), *getattr(item, "links", ())):
        for key in list(owner.attributes):
            if (shorter := cut_text(key, limit)) != key:
                owner.attributes[shorter].CopyFrom(owner.attributes[key])
                del owner.attributes[key]
                cut = True
    return cut
