"""Token counts as they are meant: input includes cache reads and writes, output includes reasoning."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

_PARTS = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def make_inclusive(
    values: MutableMapping[str, Any],
    *,
    excludes_cache: bool,
    excludes_reasoning: bool,
    total_tells: bool = True,
) -> None:
    """Brings `input_tokens` and `output_tokens` of one call to their inclusive meaning, in place.

    Whether a library includes is a property of that library (`excludes_*`, from its quirks); a reported total
    knows better unless the library made it up itself (`total_tells`), and more cache than input proves
    exclusion. Nothing but zeros means that nobody counted. Takes `total_tokens` out of the mapping.
    """
    given = values.pop("total_tokens", None)
    read, written = values.get("input_tokens"), values.get("output_tokens")
    if not read and not written:
        values.pop("input_tokens", None)
        values.pop("output_tokens", None)
        for name in _PARTS:
            if values.get(name) == 0:
                del values[name]
        if given and read is None and written is None:
            # Embeddings are often reported by their total alone.
            values["input_tokens"] = given
        return
    if read is None or written is None:
        if given is not None and read is not None and given > read:
            values["output_tokens"] = given - read
        return
    cache = (values.get("cache_read_tokens") or 0) + (values.get("cache_write_tokens") or 0)
    reasoning = values.get("reasoning_tokens") or 0
    excess = given - read - written if given and total_tells else None
    told = None
    if excess is not None and cache <= read:
        told = _told_by_total(excess, cache, reasoning)
    add_cache, add_reasoning = told or (
        excludes_cache or cache > read,
        excludes_reasoning or reasoning > written,
    )
    if add_cache:
        values["input_tokens"] = read + cache
    if add_reasoning:
        # The total knows of reasoning that was not reported by itself.
        values["output_tokens"] = written + (reasoning or max(excess or 0, 0))


def _told_by_total(excess: int, cache: int, reasoning: int) -> tuple[bool, bool] | None:
    """Which parts the total has on top of input + output; None if it explains neither."""
    if excess == 0:
        return False, False
    if cache and excess == cache:
        return True, False
    if reasoning and excess == reasoning:
        return False, True
    return (True, True) if excess == cache + reasoning else None
