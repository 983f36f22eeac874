"""Takes the proxy's spans as the intake does, and reads them as the mappers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from collector.otlp import Signal, check, decode_traces
from collector.proxy.recorder import Owner
from mappers.assemble import Assembly, assemble
from mappers.model import Event, Span
from mappers.normalize import Normalizer
from tests.waiting import until


class Collected:
    """By span id, so that a root that is sent anew counts once, as it does when stored."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.requests: list[tuple[str, bytes]] = []
        self.owners: set[Owner] = set()
        self.refuse = False

    def take(self, owner: Owner, body: bytes, done: Callable[[bool, bool], None]) -> None:
        project = owner[1]
        self.owners.add(owner)
        if self.refuse:
            done(False, True)
            return
        checked = check(Signal.TRACES, body)
        assert checked.rejected == 0
        self.requests.append((project, body))
        for span in decode_traces(checked.body):
            span.project = project or "default"
            self.spans[span.span_id] = span
        done(True, False)

    def clear(self) -> None:
        self.spans.clear()
        self.requests.clear()
        self.owners.clear()

    def named(self, beginning: str) -> list[Span]:
        """Spans whose names begin so, in order of their start."""
        found = [span for span in self.spans.values() if span.name.startswith(beginning)]
        return sorted(found, key=lambda span: span.start_ns)

    def wait(self, count: int = 1, beginning: str = "") -> list[Span]:
        """The spans once there are so many of them."""
        until(
            lambda: len(self.named(beginning)) >= count,
            lambda: [span.name for span in self.spans.values()],
            every_s=0.005,
        )
        return self.named(beginning)

    def runs(self) -> dict[str, Assembly]:
        normalizer = Normalizer()
        events: dict[str, list[Event]] = {}
        for span in self.spans.values():
            events.setdefault(span.trace_id, []).append(normalizer.normalize(span))
        assert not normalizer.faults
        return {run_id: assemble(known) for run_id, known in events.items()}


def attributes(span: Span) -> dict[str, Any]:
    return dict(span.attributes.items())


def said(span: Span, key: str = "gen_ai.output.messages") -> Sequence[dict[str, Any]]:
    """Messages of a span."""
    found: Sequence[dict[str, Any]] = orjson.loads(span.attributes[key])
    return found
