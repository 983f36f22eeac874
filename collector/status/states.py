"""How each part is, in the words of the OpenTelemetry collector's component status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collector.forwarding.opening import Forwards
from collector.journal import Readable
from collector.pipeline.deadletter import DeadLetters
from collector.pipeline.pipeline import Pipeline
from collector.telemetry.telemetry import Health

STARTING, OK, STOPPING = "StatusStarting", "StatusOK", "StatusStopping"
RECOVERABLE, PERMANENT, FATAL = "StatusRecoverableError", "StatusPermanentError", "StatusFatalError"
SEVERITY = (OK, STARTING, STOPPING, RECOVERABLE, PERMANENT, FATAL)


class States:
    """The document of `/status`: the worst state, and each component's with its error."""

    def __init__(
        self,
        health: Health,
        draining: Callable[[], bool],
        journals: Mapping[str, Readable],
        pipelines: Mapping[str, Pipeline[Any]],
        dead_letters: DeadLetters,
        forwards: Forwards,
    ) -> None:
        self._health = health
        self._draining = draining
        self._journals = journals
        self._pipelines = pipelines
        self._dead_letters = dead_letters
        self._forwards = forwards

    def document(self) -> dict[str, Any]:
        found: dict[str, tuple[str, str]] = {"receivers": (self._receivers(), "")}
        for signal, journal in self._journals.items():
            refusal = journal.room()
            found[f"journal/{signal}"] = (RECOVERABLE if refusal else OK, refusal)
        for signal, pipeline in self._pipelines.items():
            if not pipeline.is_alive():
                state = STOPPING if self._draining() else FATAL
            else:
                state = RECOVERABLE if pipeline.patience.last_error else OK
            found[f"pipeline/{signal}"] = (state, pipeline.patience.last_error)
        for forwarder in self._forwards.forwarders:
            error = forwarder.told.last_error
            found[f"{forwarder.name}/{forwarder.signal}"] = (RECOVERABLE if error else OK, error)
        full = self._dead_letters.is_full
        found["dead_letters"] = (PERMANENT, "the file is full") if full else (OK, "")
        return {
            "status": max((state for state, _ in found.values()), key=SEVERITY.index),
            "components": {
                name: {"status": state, "error": error or None} for name, (state, error) in found.items()
            },
        }

    def _receivers(self) -> str:
        if self._draining():
            return STOPPING
        return OK if self._health.ready else STARTING
