"""Which of several collectors looks at what, without their talking to each other."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def owner(thing: str, instances: Iterable[str]) -> str:
    """The one with the highest hash for this thing, so that when one comes or goes only its own things move."""
    return max(instances, key=lambda name: blake2b(f"{name}\0{thing}".encode(), digest_size=8).digest())
