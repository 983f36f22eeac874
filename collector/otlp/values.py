"""Values of attributes and bodies cut to size."""

from __future__ import annotations

from typing import Any


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
        encoded = value.string_value.encode()
        if len(encoded) <= limit:
            return False
        value.string_value = encoded[:limit].decode(errors="ignore") + marker(len(encoded))
        return True
    if which == "bytes_value":
        found = value.bytes_value
        if len(found) <= limit:
            return False
        value.bytes_value = found[:limit] + marker(len(found)).encode()
        return True
    cut = False
    if which == "array_value":
        for item in value.array_value.values:
            cut |= _cut(item, limit)
    elif which == "kvlist_value":
        entries = value.kvlist_value.values
        for key in entries:
            cut |= _cut(entries[key], limit)
    return cut


def marker(size: int) -> str:
    """What stands at the end of what was cut."""
    return f"… [cut: {size} bytes]"
