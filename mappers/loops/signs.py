"""What a tool's answer looks like at first sight: the cheap part of its fingerprint, stored with each event."""

from __future__ import annotations

from enum import IntFlag

from mappers.loops.fingerprint import acknowledges, asks, looks_empty, looks_failed, polls


class Sign(IntFlag):
    EMPTY = 1
    """It found nothing. What was not captured is not empty."""
    ACKNOWLEDGES = 2
    """It says that something was done, and no more."""
    FAILED = 4
    """It says in words that it failed."""
    POLLS = 8
    """The tool is one that is asked again on purpose."""


def signs_of(tool: str, result: str | None) -> int:
    """Bits of `Sign`.

    Args:
        result: None if it was not captured.
    """
    signs = int(Sign.POLLS) if polls(tool) else 0
    if result is None:
        return signs
    text = result.strip()
    if not text:
        return signs | (Sign.EMPTY if asks(tool) else 0)
    if looks_failed(text):
        return signs | Sign.FAILED
    if looks_empty(text):
        signs |= Sign.EMPTY
    if acknowledges(text):
        signs |= Sign.ACKNOWLEDGES
    return signs
