"""How a request ended, in no transport's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Verdict(Enum):
    """How a request ended."""

    ACCEPTED = "accepted"
    """It is safe, but for `rejected` items that never will be."""
    BAD = "bad"
    """It is no OTLP request; sending it again is no use."""
    TOO_LARGE = "too_large"
    """It has more bytes or parts than may be; it must be cut."""
    UNKNOWN_ENCODING = "unknown_encoding"
    """Its Content-Encoding is not taken."""
    REFUSED = "refused"
    """Not now; the same request may be taken in a moment."""
    OVER_QUOTA = "over_quota"
    """Not now, as its project has sent more than it may."""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    rejected: int = 0
    message: str = ""
    """Why it was not accepted, or why the rejected items were not."""
    warning: str = ""
    """What its sender should know although all is well."""
    rejections: Mapping[str, int] = field(default_factory=dict)
    """Of the rejected items, by the reason."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """What was done to items that are kept, or passed over in them, how often."""
    rejected_trace_id: str = ""
    """Trace of the first of them, if it is known."""
    tenant: str = ""
    """Whose request was accepted."""
    retry_after_s: int = 0
    """When the project may send again, if it is over its quota."""
