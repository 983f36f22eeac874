"""Attribute values as text, the way the OpenTelemetry ClickHouse exporter writes them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import orjson


def text(value: Any) -> str:
    """Text as it is, true and false, numbers in their shortest form, bytes in base64, the rest as JSON."""
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
    return orjson.dumps(_plain(value), option=orjson.OPT_NON_STR_KEYS).decode()


def texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """All attributes as text."""
    return {key: value if value.__class__ is str else text(value) for key, value in attributes.items()}


def _real(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _plain(value: Any) -> Any:
    """What JSON can say: bytes as base64; numbers it has no form for as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return text(value)
    return value
