"""What all doors of OTLP have counted: those of this process and those of its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from collector.intake import Intake, IntakeStats

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

    @property
    def auth_failures(self) -> int:
        """Requests that needed a key and had none that holds."""
        return self._intake.gate.failures + sum(hand.auth_failures for hand in self._hands)

    @property
    def inflight_bytes(self) -> int:
        """Memory that requests on their way in hold."""
        return self._intake.budget.taken + sum(hand.inflight_bytes for hand in self._hands)
