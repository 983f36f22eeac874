"""What LM Studio says of how it did, beside its answers (LM Studio's developer documentation, "REST API", `stats`)."""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import Document, mapped

_SECONDS = ("time_to_first_token", "time_to_first_token_seconds")
"""In version 0 of its API, and since."""


def stats_in(document: Document) -> dict[str, Any]:
    """Attributes of what an answer's `stats` say; some answers have them empty."""
    stats = mapped(document.get("stats"))
    found: dict[str, Any] = {}
    for name in _SECONDS:
        if (seconds := _number(stats.get(name))) is not None:
            found["gen_ai.server.time_to_first_token"] = seconds
    if (speed := _number(stats.get("tokens_per_second"))) is not None:
        found["eddyline.proxy.tokens_per_second"] = speed
    if (load := _number(stats.get("model_load_time_seconds"))) is not None:
        found["eddyline.proxy.load_ms"] = load * 1e3
    return found


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and value >= 0 else None
