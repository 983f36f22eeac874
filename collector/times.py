"""Times as people and programs write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FRACTION = re.compile(r"\.(\d+)")


def nanoseconds(text: str) -> int:
    """An RFC 3339 time as nanoseconds since the epoch, with all nine decimals; UTC if it names no zone.

    Raises: ValueError.
    """
    fraction = _FRACTION.search(text)
    moment = datetime.fromisoformat(_FRACTION.sub("", text))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + (int(fraction[1][:9].ljust(9, "0")) if fraction else 0)
