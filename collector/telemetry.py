"""What the collector says of itself: health for probes, status for people and programs, log lines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Health:
    """Liveness and readiness. The store being away does not make the collector unready: the journal takes on."""

    checks: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """What must hold while ready, by name."""
    ready: bool = False
    """Everything listens, and the collector is not draining."""

    def failing(self) -> list[str]:
        """Names of the checks that do not hold; [] when all is well."""
        return [name for name, check in self.checks.items() if not check()]


@dataclass(slots=True)
class Status:
    """The document of `/api/v1/status`, made anew on each request from what the parts count."""

    version: str
    parts: Mapping[str, Callable[[], Any]]
    """Sections of the document by name."""
    started_at: float = field(default_factory=time.monotonic)

    def document(self) -> dict[str, Any]:
        uptime_s = round(time.monotonic() - self.started_at, 3)
        return {"version": self.version, "uptime_s": uptime_s} | {
            name: part() for name, part in self.parts.items()
        }


def configure_logging(level: str) -> None:
    """One line a record on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # several servers start and end in our own words
