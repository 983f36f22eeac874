"""What a field of OTLP/JSON holds: by either of its names, as text, number, enum or id."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

Document = dict[str, Any]

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


class ItemError(ValueError):
    """One item can not be read; the message is its reason."""


@cache
def camel(name: str) -> str:
    """How JSON calls a field of a message."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@cache
def snake(name: str) -> str:
    """How a message calls a field of JSON, which may be called so there, too."""
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), name)


def field(document: Any, name: str) -> Any:
    """What stands under a name, however it is written; None if nothing does. Raises: ItemError: in no object."""
    found = as_object(document).get(name)
    return document.get(snake(name)) if found is None else found


def as_object(document: Any) -> Document:
    """Raises: ItemError: it is none."""
    if not isinstance(document, dict):
        raise ItemError(f"an object is expected, not {kind_of(document)}")
    return document


def list_of(document: Any, name: str, error: type[ValueError]) -> list[Any]:
    """The list that stands under a name; an empty one if nothing does. Raises `error` if something else does, or if the
    document is no object."""
    if not isinstance(document, dict):
        raise error(f"an object is expected, not {kind_of(document)}")
    found = document.get(name)
    if found is None:
        found = document.get(snake(name))
    if found is None:
        return []
    if not isinstance(found, list):
        raise error(f"{name} must be a list, not {kind_of(found)}")
    return found


def text(document: Any, name: str) -> str:
    """The text that stands under a name; "" if nothing does. Raises: ItemError."""
    found = field(document, name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ItemError(f"{name} is not text")
    return found


def integer(found: Any) -> int:
    """A whole number, also written as text, with a fraction of zeros or an exponent or without; 0 for none.

    Raises:
        ItemError: it is none, or is written in a way of Python's that JSON has not, as 1_000.
    """
    if found.__class__ is int:
        return int(found)
    if found is None or found == "":
        return 0
    try:
        if isinstance(found, str) and _NUMBER.fullmatch(found):
            if len(found) <= 20 and found.lstrip("-").isdigit():
                return int(found)
            found = float(found)
        if isinstance(found, float) and found.is_integer():
            return int(found)
    except (ValueError, OverflowError):
        pass
    raise ItemError("an integer is not one")


def enum(found: Any, names: dict[str, int]) -> int:
    """The number of an enum, also given by its name; 0 for a name that is not known. Raises: ItemError."""
    return names.get(found, 0) if isinstance(found, str) and not found.isdigit() else integer(found)


def hex_id(found: Any, size: int) -> bytes:
    """Bytes of a hex id; b"" for none. A wrong length is left to the check that both encodings share.

    Raises:
        ItemError: it is no hex.
    """
    if not found:
        return b""
    try:
        return bytes.fromhex(found)
    except (TypeError, ValueError):
        pass
    if isinstance(found, str) and len(found) in (size * 4 // 3, -(-size // 3) * 4):
        raise ItemError("an id looks like base64; OTLP/JSON has ids in hex")
    raise ItemError("an id is not hex")


def kind_of(found: Any) -> str:
    """What a value of JSON is, for people."""
    return {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(found), "a number")
