"""Attributes and their values, of whatever has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import orjson

from collector.otlp.json.fields import Document, ItemError, as_object, integer, list_of, snake, text
from collector.otlp.limits import Limits

_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def fill_attributes(owner: Document, target: Any, limits: Limits) -> int:
    """Writes what an object of the document has under `attributes` into the `target`'s. Returns how many were too many.

    Raises:
        ItemError, ValueError, TypeError: they can not be read.
    """
    attributes = owner.get("attributes")
    if attributes is None:
        return 0
    if not isinstance(attributes, list):
        raise ItemError("attributes must be a list of {key, value} objects")
    for pair in attributes[: limits.attributes]:
        try:
            key, found = pair.get("key") or "", pair.get("value")
        except AttributeError:
            raise ItemError("an attribute is not a {key, value} object") from None
        target[key].Clear()  # makes the entry; of equal keys the last holds
        if found:
            said = found.get("stringValue") if found.__class__ is dict else None
            if said is not None:  # as most are
                target[key].string_value = said
            else:
                fill_value(found, target[key], limits.value_depth)
    return max(0, len(attributes) - limits.attributes)


def fill_value(document: Any, message: Any, levels: int) -> None:
    """Writes an AnyValue. `levels` of lists and maps may lie in it; one below that becomes JSON text.

    Raises:
        ItemError, ValueError, TypeError: it can not be read.
    """
    if not isinstance(document, dict):
        raise ItemError('a value is not an object such as {"stringValue": …}')
    if levels < 0:
        message.string_value = orjson.dumps(document).decode()
        return
    for name, found in document.items():
        setter = _VALUES.get(name)
        if setter is not None and found is not None:
            setter(found, message, levels)


def _set_string(found: Any, message: Any, levels: int) -> None:
    message.string_value = found


def _set_bool(found: Any, message: Any, levels: int) -> None:
    if not isinstance(found, bool):
        raise ItemError("a boolValue is neither true nor false")
    message.bool_value = found


def _set_integer(found: Any, message: Any, levels: int) -> None:
    message.int_value = integer(found)


def _set_double(found: Any, message: Any, levels: int) -> None:
    if isinstance(found, str):
        found = _NOT_FINITE.get(found, found)
    try:
        message.double_value = float(found)
    except (TypeError, ValueError):
        raise ItemError("a doubleValue is not a number") from None


def _set_bytes(found: Any, message: Any, levels: int) -> None:
    try:
        plain = found.replace("-", "+").replace("_", "/").rstrip("=")
        message.bytes_value = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (AttributeError, binascii.Error):
        raise ItemError("a bytesValue is not base64") from None


def _set_array(found: Any, message: Any, levels: int) -> None:
    target = message.array_value
    target.SetInParent()
    for item in list_of(as_object(found), "values", ItemError):
        added = target.values.add()
        if item is not None:
            fill_value(item, added, levels - 1)


def _set_map(found: Any, message: Any, levels: int) -> None:
    target = message.kvlist_value
    target.SetInParent()
    for pair in list_of(as_object(found), "values", ItemError):
        entry = target.values.add(key=text(pair, "key"))
        if pair.get("value") is not None:
            fill_value(pair["value"], entry.value, levels - 1)


_VALUES: dict[str, Callable[[Any, Any, int], None]] = {
    "stringValue": _set_string,
    "boolValue": _set_bool,
    "intValue": _set_integer,
    "doubleValue": _set_double,
    "bytesValue": _set_bytes,
    "arrayValue": _set_array,
    "kvlistValue": _set_map,
}
_VALUES |= {snake(name): setter for name, setter in _VALUES.items()}


_INDEXES = frozenset({"keyStrindex", "key_strindex", "stringValueStrindex", "string_value_strindex"})


def has_indexes(document: Any) -> bool:
    """Whether attributes or values in it are named by an index into the dictionary of profiles."""
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if _INDEXES & found.keys():
                return True
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return False
