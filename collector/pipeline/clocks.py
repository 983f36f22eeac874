"""Clients' clocks: times that are missing, or that no column can hold, are set right and marked.

What is done depends on the span alone wherever it can, so that a span that is sent again is the same row again.
Old times are kept: retention counts from arrival.
"""

from __future__ import annotations

from collections.abc import Sequence

from mappers.model import Span
from sinks.clickhouse.columns import LATEST_NS

MARK = "eddyline.time"
"""Attribute that says what was odd: `no_start`, `out_of_range`, `ends_before_start`."""


def settle_times(spans: Sequence[Span], received_ns: int) -> bool:
    """Gives each span times that can be stored. An end before the start is kept as it is, and marked. Returns whether
    a span was changed."""
    changed = False
    for span in spans:
        start, end = span.start_ns, span.end_ns
        if 0 < start <= end <= LATEST_NS or (0 < start <= LATEST_NS and not end):
            continue
        if start > LATEST_NS or end > LATEST_NS:
            span.start_ns, span.end_ns = min(start, LATEST_NS), min(end, LATEST_NS)
            oddity = "out_of_range"
        elif not start:
            span.start_ns = end or received_ns
            oddity = "no_start"
        else:
            oddity = "ends_before_start"
        span.attributes = {**dict(span.attributes.items()), MARK: oddity}
        changed = True
    return changed
