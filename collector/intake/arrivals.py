"""What all doors of OTLP have counted and used: those of this process and those of its workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from collector.intake.counted import IntakeStats
from collector.intake.intake import Intake
from collector.intake.memory import peak_bytes
from collector.process.interpreter import cpu_seconds

if TYPE_CHECKING:
    from collector.workers.crew import Crew


class Arrivals:
    """Asks the parts each time."""

    def __init__(self, intake: Intake, crew: Crew | None) -> None:
        self._intake = intake
        self._hands = crew.hands if crew else []

    def stats(self) -> IntakeStats:
        found = self._intake.seen()
        for hand in self._hands:
            hand.add_to(found)
        return found

    def document(self) -> dict[str, Any]:
        """For the status."""
        return self.stats().document()

    def over_quota(self) -> list[dict[str, Any]]:
        """Whose requests were refused as they were over their quota, for the status: the most first."""
        return [
            {"tenant": tenant, "project": project, "requests": requests}
            for (tenant, project), requests in self.stats().over_quota.most_common()
        ]

    @property
    def auth_failures(self) -> int:
        """Requests that needed a key and had none that holds."""
        return self._intake.gate.failures + sum(hand.auth_failures for hand in self._hands)

    @property
    def cpu_seconds(self) -> float:
        """What the collector has used of the processor, all of its processes."""
        return cpu_seconds() + sum(hand.cpu_seconds for hand in self._hands)

    @property
    def resident_bytes(self) -> int:
        """What they use of memory; the most that they did where the system does not say."""
        return self._intake.budget.used() or peak_bytes()

    def watch_loops(self, tell: Callable[[float], None]) -> None:
        """Tells how late the event loops of the workers are; not that of this process."""
        for hand in self._hands:
            hand.loop_lag = tell

    @property
    def inflight_bytes(self) -> int:
        """Memory that requests on their way in hold."""
        return self._intake.budget.taken + sum(hand.inflight_bytes for hand in self._hands)
