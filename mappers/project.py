"""The project that a sender names for itself."""

from __future__ import annotations

from mappers.conventions.fields import text
from mappers.model import Resource

PROJECT_KEYS = ("openinference.project.name", "loop.project")
"""Resource attributes that name a project, best first; never `service.name` (design.md §3)."""


def project_of(resource: Resource) -> str | None:
    """The project that a resource names for its spans; None if it names none."""
    for key in PROJECT_KEYS:
        name = text(resource.attributes.get(key))
        if name:
            return name
    return None
