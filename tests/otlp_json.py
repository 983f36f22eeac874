"""Protobuf requests as the OTLP/JSON that a JavaScript exporter would send."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict

_IDS = {"traceId", "spanId", "parentSpanId"}


def to_json(request: Any) -> bytes:
    """The request in OTLP/JSON: ids in hex, enums as numbers, 64-bit integers as text."""
    return json.dumps(
        _hex_ids(MessageToDict(request, use_integers_for_enums=True)), ensure_ascii=False
    ).encode()


def _hex_ids(document: Any) -> Any:
    import base64

    if isinstance(document, list):
        return [_hex_ids(item) for item in document]
    if isinstance(document, dict):
        return {
            key: base64.b64decode(value).hex() if key in _IDS else _hex_ids(value)
            for key, value in document.items()
        }
    return document
