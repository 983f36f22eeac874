"""Observers: what other packages want to hear of every recorded call (entry point `eddyline.observers`).

They are told after the fact, in the recorder's thread; one that fails is counted, and costs nobody else anything.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from collector.proxy.capture import Policy
from collector.proxy.exchange import Exchange
from collector.proxy.formats import Message, Usage
from collector.proxy.session import Resolved
from collector.telemetry.telemetry import about
from collector.understanding.plugins import load_observers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observed:
    """A call that has ended. Messages have the form of the GenAI conventions, and are not masked; they are empty where
    content is not to be kept."""

    project: str
    run_id: str
    span_id: str
    session_id: str
    upstream: str
    api: str
    path: str
    model: str
    status: int
    """0: there was no answer."""
    outcome: str
    error_type: str
    duration_ms: float
    usage: Usage
    input: Sequence[Message]
    output: Sequence[Message]


Observer = Callable[[Observed], None]


class Observers:
    """Args:
    observers: by name; None loads those of installed packages.
    """

    def __init__(self, observers: Mapping[str, Observer] | None = None) -> None:
        self._observers = load_observers() if observers is None else observers
        self.failures: Counter[str] = Counter()
        """By observer."""

    def tell(self, exchange: Exchange, resolved: Resolved, policy: Policy) -> None:
        if not self._observers:
            return
        tape = exchange.tape
        observed = Observed(
            tape.context.project or "default",
            resolved.session.trace_id,
            tape.span_id,
            resolved.session.id,
            tape.upstream.name,
            exchange.format.api if exchange.format else "",
            tape.path,
            exchange.asked.model or exchange.answered.model,
            tape.status,
            exchange.outcome,
            exchange.error_type,
            tape.end_ns / 1e6,
            exchange.answered.usage,
            exchange.asked.messages if policy.input else (),
            exchange.answered.messages if policy.output else (),
        )
        for name, observer in self._observers.items():
            try:
                observer(observed)
            except Exception:
                self.failures[name] += 1
                if self.failures[name] == 1:
                    log.exception(
                        "the observer %s failed; it is told of the next calls all the same",
                        name,
                        extra=about(tape.context.tenant, resolved.session.trace_id),
                    )
