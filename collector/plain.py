"""Parts of the model as plain JSON, for people: what is empty is left out, what is long is cut."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

MAX_DEPTH = 8


def plain(value: Any, *, max_chars: int, max_parts: int, depth: int = MAX_DEPTH) -> Any:
    """The value as what JSON has. A text that is cut ends with how much is missing, a map with `…`."""

    def within(part: Any) -> Any:
        return plain(part, max_chars=max_chars, max_parts=max_parts, depth=depth - 1)

    if isinstance(value, str):
        if len(value) <= max_chars:
            return str(value)
        return f"{value[:max_chars]}… ({len(value) - max_chars} more)"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return within(base64.b64encode(value[:max_chars]).decode())
    if depth == 0:
        return "…"
    if is_dataclass(value):
        named = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: within(part) for name, part in named if not _is_empty(part)}
    if isinstance(value, Mapping):
        shown = {str(name)[:max_chars]: within(value[name]) for name in islice(value, max_parts)}
        return shown | {"…": len(value) - max_parts} if len(value) > max_parts else shown
    if isinstance(value, Sequence):
        return [within(part) for part in value[:max_parts]]
    return within(str(value))


def _is_empty(value: Any) -> bool:
    if isinstance(value, bool | int | float | Decimal):
        return False
    return value is None or (hasattr(value, "__len__") and len(value) == 0)
