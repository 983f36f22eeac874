"""Times the mapping of captured spans in one thread, by convention.

    python -m tests.bench.conventions [--seconds 0.5]

Spans are decoded before; each convention's are mapped over and over, in the order in which they were sent.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence

from mappers.model import Span
from mappers.normalize import Normalizer
from tests.corpus import captured, scenarios
from tests.mappers.spans import captured_spans


def spans_by_convention() -> dict[str, list[Span]]:
    """Captured spans by the convention that recognises them; under "" those that none does."""
    normalizer = Normalizer()
    found: dict[str, list[Span]] = defaultdict(list)
    for scenario in (*scenarios(), *captured()):
        for span in captured_spans(scenario):
            found[normalizer.normalize(span).convention].append(span)
    return found


def spans_per_second(spans: Sequence[Span], seconds: float) -> float:
    """How many a second of processor time, over at least that many seconds after a round to warm up."""
    normalizer = Normalizer()
    for span in spans:
        normalizer.normalize(span)
    rounds, started = 0, time.process_time()
    while (elapsed := time.process_time() - started) < seconds:
        for span in spans:
            normalizer.normalize(span)
        rounds += 1
    return rounds * len(spans) / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description="Spans mapped per second of processor time, by convention.")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each convention is timed")
    seconds = parser.parse_args().seconds
    print(f"{'convention':<16}{'spans':>8}{'spans/s':>12}")
    for convention, spans in sorted(spans_by_convention().items()):
        print(f"{convention or '(none)':<16}{len(spans):>8}{spans_per_second(spans, seconds):>12,.0f}")


if __name__ == "__main__":
    main()
