"""The one way in, whatever the door: judge a request, journal what of it can be stored, say how it ended.

A request is only called accepted once its journal record has reached the acknowledgement level. Doors differ in
how they wait (an event loop, a thread) and in how they word the outcome; everything else is here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from collector.journal import Header, Journal, JournalError
from collector.otlp import Checked, NotOtlpError, Signal, check, transcode

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""Exporters give up after 10 s in all, so they are asked back soon."""


INSIDE = "proxy"
"""Transport of what comes from within the process: nobody else has it, so that it is taken until the end."""


class Verdict(Enum):
    """How a request ended."""

    ACCEPTED = "accepted"
    """It is safe, but for `rejected` items that never will be."""
    BAD = "bad"
    """It is no OTLP request; sending it again is no use."""
    REFUSED = "refused"
    """Not now; the same request may be taken in a moment."""


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    rejected: int = 0
    message: str = ""


@dataclass(slots=True)
class Counted:
    """What one transport has seen of one signal: spans, log records or data points, and requests."""

    requests: int = 0
    accepted: int = 0
    rejected: int = 0
    bad_requests: int = 0
    refused_requests: int = 0


@dataclass(slots=True)
class IntakeStats:
    by_door: dict[tuple[str, Signal], Counted] = field(default_factory=dict)

    def of(self, transport: str, signal: Signal) -> Counted:
        return self.by_door.setdefault((transport, signal), Counted())

    @property
    def accepted_spans(self) -> int:
        return sum(c.accepted for (_, signal), c in self.by_door.items() if signal is Signal.TRACES)

    def document(self) -> dict[str, Any]:
        """`{transport: {signal: counts}}` for the status."""
        document: dict[str, Any] = {}
        for (transport, signal), counted in sorted(self.by_door.items()):
            document.setdefault(transport, {})[signal.value] = {
                name: getattr(counted, name) for name in Counted.__dataclass_fields__
            }
        return document


class Intake:
    """Takes requests of all signals.

    Args:
        journals: by signal name; a signal without one is answered and counted, not stored.
    """

    def __init__(self, journals: Mapping[str, Journal]) -> None:
        self._journals = journals
        self._lock = threading.Lock()
        self.stats = IntakeStats()
        self.draining = False
        """Refuse everything: the collector is about to end."""

    def take(
        self,
        signal: Signal,
        body: bytes,
        *,
        json: bool,
        transport: str,
        project: str,
        done: Callable[[Outcome], None],
    ) -> None:
        """Judges and journals a request. `done` is called once, now or from the journal's thread."""
        outcome: Outcome | None = None
        try:
            if self.draining and transport != INSIDE:
                outcome = Outcome(Verdict.REFUSED, message="the collector is shutting down")
            else:
                checked = transcode(signal, body) if json else check(signal, body)
                journal = self._journals.get(signal)
                if journal is not None and checked.accepted:
                    header = Header(
                        time.time_ns(), project=project, transport=transport, items=checked.accepted
                    )
                    journal.append(
                        header,
                        checked.body,
                        lambda error: done(self._journalled(signal, transport, checked, error)),
                    )
                    return
                outcome = self._accepted(checked)
        except NotOtlpError as error:
            checked = Checked(b"", 0)
            outcome = Outcome(Verdict.BAD, message=str(error))
        except JournalError as error:
            outcome = Outcome(Verdict.REFUSED, message=str(error))
        except Exception:
            # A fault of ours must not cost the client its data: it may find us mended, or another replica.
            log.exception("a %s request could not be judged", signal)
            outcome = Outcome(Verdict.REFUSED, message="internal error")
        self._count(
            signal, transport, outcome, checked.accepted if outcome.verdict is Verdict.ACCEPTED else 0
        )
        done(outcome)

    def _journalled(
        self, signal: Signal, transport: str, checked: Checked, error: Exception | None
    ) -> Outcome:
        outcome = self._accepted(checked) if error is None else Outcome(Verdict.REFUSED, message=str(error))
        self._count(signal, transport, outcome, checked.accepted if error is None else 0)
        return outcome

    @staticmethod
    def _accepted(checked: Checked) -> Outcome:
        return Outcome(Verdict.ACCEPTED, checked.rejected, checked.reasons)

    def _count(self, signal: Signal, transport: str, outcome: Outcome, accepted: int) -> None:
        with self._lock:
            counted = self.stats.of(transport, signal)
            counted.requests += 1
            counted.accepted += accepted
            counted.rejected += outcome.rejected
            counted.bad_requests += outcome.verdict is Verdict.BAD
            counted.refused_requests += outcome.verdict is Verdict.REFUSED
        if outcome.rejected:
            log.warning("%s over %s: %d rejected: %s", signal, transport, outcome.rejected, outcome.message)
