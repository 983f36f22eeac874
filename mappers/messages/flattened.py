"""Lists and mappings that were flattened into attribute keys: `llm.input_messages.0.message.content`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

MAX_INDEX = 10_000
"""Indexes from here on are dropped: `x.999999999.y` must not cost memory."""
MAX_DEPTH = 12
"""Deeper keys keep their remainder as one step."""


@lru_cache(maxsize=65_536)  # keys repeat from span to span
def place_of(key: str) -> tuple[str, int] | tuple[()]:
    """(what stands before the first list index in a key, that index); () if there is no index within the
    limit."""
    start = key.find(".")
    while start >= 0:
        end = key.find(".", start + 1)
        index = index_of(key[start + 1 : end] if end >= 0 else key[start + 1 :])
        if index >= 0:
            return key[:start], index
        start = end
    return ()


def index_of(step: str) -> int:
    """A step of a key as a list index; -1 if it is none or beyond the limit."""
    if len(step) > 5 or not step.isascii() or not step.isdigit():
        return -1
    index = int(step)
    return index if index < MAX_INDEX else -1


def unflatten(pairs: Iterable[tuple[str, Any]]) -> Any:
    """Folds (key below the prefix, value) pairs back into nested mappings and lists.

    A mapping whose keys are all indexes becomes a list in numeric order; gaps are closed, not filled. Where
    a key holds both a value and further keys, what came first stays.
    """
    tree: dict[str, Any] = {}
    for key, value in pairs:
        *branches, leaf = key.split(".", MAX_DEPTH)
        node = tree
        for branch in branches:
            below = node.setdefault(branch, {})
            if not isinstance(below, dict):
                break
            node = below
        else:
            node.setdefault(leaf, value)
    return _listed(tree)


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isascii() and key.isdigit() for key in node):
        indexes = sorted((index_of(key), key) for key in node)
        return [_listed(node[key]) for index, key in indexes if index >= 0]
    return {key: _listed(value) for key, value in node.items()}
