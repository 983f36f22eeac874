"""Which attributes hold what was read and written, so that a project may keep neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mappers.conventions.base import (
    Below,
    Computed,
    Convention,
    EventAttribute,
    EventMessages,
    Flat,
    Json,
    Source,
)
from mappers.conventions.reading import EVENT_CONTENT

_FIELDS = {
    "input": ("input", "input_messages", "arguments"),
    "output": ("output", "output_messages", "result", "tool_requests"),
}
_NAMES = {
    "input": re.compile(
        r"(?:^|[._])(?:inputs?|prompts?|messages?|query|question|request_data|system_(?:instructions?|prompt)|"
        r"instructions|documents?|template|variables|tools|definitions|json_schema|args|arguments|kwargs|parameters|"
        r"toolCalls?|values?|text|body|state_?[sS]napshot|crew_(?:tasks|agents))(?:[._]|$)"
    ),
    "output": re.compile(
        r"(?:^|[._])(?:outputs?|completions?|response_data|results?|answer|choices?|reasoning|final_result|"
        r"tool_response|response\.(?:text|object|toolCalls|reasoning)|toolCalls?|text|body|explanation|"
        r"state_?[sS]napshot)(?:[._]|$)"
    ),
}
"""Names by which attributes of conventions that are not known here may hold content. Rather one too many: what is
removed was read before."""

MESSAGE_KEYS = ("content", "message", "tool_calls", EVENT_CONTENT)
"""Attributes of a span event that is a message."""


class Content:
    """Tells attributes with content from others.

    Args:
        conventions: their fields say where content stands.
    """

    def __init__(self, conventions: Iterable[Convention]) -> None:
        self._keys: dict[str, set[str]] = {"input": set(), "output": set()}
        self._prefixes: dict[str, tuple[str, ...]] = {"input": (), "output": ()}
        for convention in conventions:
            for side, names in _FIELDS.items():
                for name in names:
                    for source in convention.fields.get(name, ()):
                        self._add(side, source)

    def _add(self, side: str, source: Source) -> None:
        if isinstance(source, str):
            self._keys[side].add(source)
        elif isinstance(source, (Json, EventAttribute)):
            self._keys[side].add(source.key)
        elif isinstance(source, EventMessages):
            self._keys[side].update(MESSAGE_KEYS)
        elif isinstance(source, Computed):
            self._keys[side].update(source.keys)
        elif isinstance(source, (Flat, Below)):
            self._prefixes[side] = (*self._prefixes[side], source.prefix + ".")

    def without(self, attributes: Mapping[str, Any], sides: Iterable[str]) -> dict[str, Any]:
        """The attributes that do not hold content of these sides (`input`, `output`). Numbers and truths stay."""
        sides = tuple(sides)
        return {
            key: value
            for key, value in attributes.items()
            if isinstance(value, (bool, int, float)) or not any(self.holds(key, side) for side in sides)
        }

    def holds(self, key: str, side: str) -> bool:
        """Whether an attribute of that name holds content of that side."""
        return (
            key in self._keys[side]
            or key.startswith(self._prefixes[side])
            or _NAMES[side].search(key) is not None
        )
