"""Trace ids, which are ids of runs, in every way that others write them."""

from __future__ import annotations

import base64
import binascii
import re


def trace_id_of(written: str) -> str:
    """A trace id in 32 hex digits: as such, as LoopLens writes it (`otel-…`), without leading zeros, with dashes, or
    in base64. What is none comes back as it is, and is found nowhere."""
    text = written.strip().lower().removeprefix("otel-").replace("-", "")
    if re.fullmatch(r"[0-9a-f]{1,32}", text):
        return text.zfill(32)
    try:
        decoded = base64.b64decode(written.strip() + "=" * (-len(written.strip()) % 4), altchars=b"-_")
    except (binascii.Error, ValueError):
        return text
    return decoded.hex() if len(decoded) == 16 else text
