"""What values are, types and all: 1 and True are equal, and so are a member and its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def likeness(value: Any) -> Any:
    """Equal only for values of the same types with the same parts."""
    if is_dataclass(value):
        return type(value), [likeness(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return dict, {key: likeness(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [likeness(item) for item in value]
    return type(value), repr(value)
