"""Values of attributes and bodies cut to size."""

from __future__ import annotations

import re
from typing import Any

_MARKED = re.compile(r"… \[cut: \d{1,20} bytes\]$")


def cut_values(owner: Any, limit: int) -> bool:
    """Cuts texts and bytes longer than `limit` bytes within a span, log record, resource or scope. A marker at the
    end says how long the value was. Returns whether one was cut."""
    cut = False
    for field in ("attributes", "events", "links", "body"):
        if not hasattr(owner, field):
            continue
        if field == "attributes":
            for key in owner.attributes:
                cut |= _cut(owner.attributes[key], limit)
        elif field == "body":
            cut |= _cut(owner.body, limit)
        else:
            for part in getattr(owner, field):
                cut |= cut_values(part, limit)
    return cut


def _cut(value: Any, limit: int) -> bool:
    which = value.WhichOneof("value")
    if which == "string_value":
        text = value.string_value
        if (shorter := cut_text(text, limit)) == text:
            return False
        value.string_value = shorter
        return True
    if which == "bytes_value":
        found = value.bytes_value
        if len(found) <= limit or _is_cut(found[-MARKER_BYTES:].decode(errors="replace"), len(found), limit):
            return False
        value.bytes_value = found[:limit] + marker(len(found)).encode()
        return True
    cut = False
    if which == "array_value":
        for item in value.array_value.values:
            cut |= _cut(item, limit)
    elif which == "kvlist_value":
        for pair in value.kvlist_value.values:
            cut |= _cut(pair.value, limit)
    return cut


def cut_text(text: str, limit: int) -> str:
    """The text if it has up to `limit` bytes; else its beginning, and a marker that says how long it was. What was cut
    before, by another collector or before it was sent again, stays: its marker tells the true length."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode()
    if len(encoded) <= limit or _is_cut(text[-MARKER_BYTES:], len(encoded), limit):
        return text
    return encoded[:limit].decode(errors="ignore") + marker(len(encoded))


MARKER_BYTES = 40
"""A marker has fewer."""


def marker(size: int) -> str:
    """What stands at the end of what was cut."""
    return f"… [cut: {size} bytes]"


def _is_cut(end: str, size: int, limit: int) -> bool:
    """Whether `size` bytes that end so are what a cut at `limit` bytes leaves."""
    found = _MARKED.search(end)
    return found is not None and size - len(found[0].encode()) <= limit
