"""What the doors have counted: requests, and what was in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from collector.intake.quota import LONGEST_PROJECT
from collector.otlp import Signal

MOST_CLIENTS = 200
MOST_PROJECTS = 200
OTHERS = ("", "(others)")
"""Whose requests are counted that were refused to more projects than these."""


@dataclass(slots=True)
class Counted:
    """What one transport has seen of one signal: spans, log records or data points, and requests."""

    requests: int = 0
    accepted: int = 0
    rejected: int = 0
    refused: int = 0
    """In requests that were asked to come back, also of projects over their quota, as far as these were looked into."""
    resent: int = 0
    """Accepted without being stored again, because the same request was taken a moment ago."""
    resent_requests: int = 0
    bad_requests: int = 0
    refused_requests: int = 0
    over_quota_requests: int = 0
    """Not among those that were refused."""
    unread_requests: int = 0
    """Over gRPC, that ended before their message was there: it is too large for gRPC, or its client gave up."""


@dataclass(slots=True)
class IntakeStats:
    by_door: dict[tuple[str, Signal], Counted] = field(default_factory=dict)
    clients: Counter[str] = field(default_factory=Counter)
    """Requests by what their senders call themselves."""
    rejections: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """Rejected items by the reason."""
    changes: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """What was done to items that are kept, or passed over in them, of which their senders are warned."""

    over_quota: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests that were refused as their project was over its quota, by tenant and project."""

    def saw_over_quota(self, tenant: str, project: str) -> None:
        """Counts such a request; bounded as clients are."""
        whose = tenant, project[:LONGEST_PROJECT]
        self.over_quota[
            whose if whose in self.over_quota or len(self.over_quota) < MOST_PROJECTS else OTHERS
        ] += 1

    def saw_client(self, agent: str) -> None:
        """Counts a request of who calls itself so. Bounded: a label of a metric is not for everybody to make up."""
        self.clients[agent if agent in self.clients or len(self.clients) < MOST_CLIENTS else ""] += 1

    def of(self, transport: str, signal: Signal) -> Counted:
        return self.by_door.setdefault((transport, signal), Counted())

    def accepted(self, signal: str) -> tuple[int, int]:
        """Items accepted by all doors, and how many of these were resent."""
        counted = [counted for (_, of), counted in list(self.by_door.items()) if of == signal]
        return sum(each.accepted for each in counted), sum(each.resent for each in counted)

    def add(self, others: IntakeStats) -> None:
        """Adds what others have counted."""
        for door, counted in others.by_door.items():
            mine = self.of(*door)
            for name in Counted.__dataclass_fields__:
                setattr(mine, name, getattr(mine, name) + getattr(counted, name))
        self.clients.update(others.clients)
        self.rejections.update(others.rejections)
        self.changes.update(others.changes)
        self.over_quota.update(others.over_quota)

    def document(self) -> dict[str, Any]:
        """`{transport: {signal: counts}}` for the status."""
        document: dict[str, Any] = {}
        for (transport, signal), counted in sorted(self.by_door.items()):
            document.setdefault(transport, {})[signal.value] = {
                name: getattr(counted, name) for name in Counted.__dataclass_fields__
            }
        return document
