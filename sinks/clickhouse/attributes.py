"""Attribute values as text, the way the OpenTelemetry ClickHouse exporter writes them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson


def text(value: Any) -> str:
    """Text as it is, true and false, numbers in their shortest form, bytes in base64, the rest as JSON.

    As pdata's `Value.AsString`, but for numbers that are none: NaN, +Inf and -Inf, where pdata puts an error
    message (or, in a list or map, drops the whole value).
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, float):
        return _real(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return _json(_plain(value))


def _real(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    shortest = repr(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        return shortest.replace("e-0", "e-")
    if shortest.endswith(".0"):
        return shortest[:-2]
    return format(Decimal(shortest), "f") if "e" in shortest else shortest


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # an integer of more than 64 bits, half of a surrogate pair
        return json.dumps(value, separators=(",", ":"), sort_keys=True, default=_number)


def _number(written: Any) -> float:
    return float(written.contents)


def _plain(value: Any) -> Any:
    """What JSON can say: bytes as base64; numbers it has no form for as text, the others as `text` writes them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return orjson.Fragment(_real(value))
    return text(value) if isinstance(value, (bytes, float)) else value
