"""Whether a run fits a filter, told from the run alone: what the store says of rows, for runs as they pass by."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from mappers.model import Run, RunStatus
from sinks.filter import ATTRIBUTE_PREFIX, FIELDS, NUMERIC, Compare, Condition, Either, Every, Not, Type

_VALUES: Mapping[str, Callable[[Run], Any]] = {
    "id": lambda run: run.run_id,
    "project": lambda run: run.project,
    "status": lambda run: run.status,
    "name": lambda run: run.name,
    "session": lambda run: run.session_id,
    "user": lambda run: run.user_id,
    "environment": lambda run: run.environment,
    "service": lambda run: run.services,
    "agent": lambda run: run.agents,
    "model": lambda run: run.models,
    "tool": lambda run: run.tools,
    "tag": lambda run: run.tags,
    "convention": lambda run: run.conventions,
    "error": lambda run: f"{run.error_type} {run.error_message}",
    "cost": lambda run: run.cost_usd,
    "tokens": lambda run: run.usage.total,
    "input_tokens": lambda run: run.usage.input,
    "output_tokens": lambda run: run.usage.output,
    "cached_tokens": lambda run: run.usage.cache_read,
    "duration": lambda run: None if run.status == RunStatus.RUNNING else (run.end_ns - run.start_ns) / 1e6,
    "spans": lambda run: run.counts.spans,
    "llm_calls": lambda run: run.counts.llm_calls,
    "llm_errors": lambda run: run.counts.llm_errors,
    "tool_calls": lambda run: run.counts.tool_calls,
    "tool_errors": lambda run: run.counts.tool_errors,
    "handoffs": lambda run: run.counts.handoffs,
    "retries": lambda run: run.counts.retries,
    "errors": lambda run: run.counts.errors,
    "warnings": lambda run: run.counts.warnings,
}
OF_ROWS = frozenset(name for name in _VALUES if FIELDS[name].type is not Type.WORDS)
"""Fields of which this module and a store that keeps the run's row say exactly the same."""
FOLLOWED = frozenset({*_VALUES, "warning", "severity"})
"""Fields that can be told from runs as they pass by."""


def can_match(field: str) -> bool:
    """Whether the field can be told from a run alone."""
    return not field.startswith(ATTRIBUTE_PREFIX) and field in FOLLOWED


def matches(condition: Condition, run: Run, warnings: Collection[tuple[str, str]]) -> bool:
    """Whether the run fits.

    Args:
        condition: of fields that `can_match`.
        warnings: (type, severity) of those that stand, as far as they are known.
    """
    match condition:
        case Every(parts):
            return all(matches(part, run, warnings) for part in parts)
        case Either(parts):
            return any(matches(part, run, warnings) for part in parts)
        case Not(part):
            return not matches(part, run, warnings)
        case Compare():
            return _compares(condition, run, warnings)


def _compares(compare: Compare, run: Run, warnings: Collection[tuple[str, str]]) -> bool:
    if compare.field in ("warning", "severity"):
        place = ("warning", "severity").index(compare.field)
        return any(_fits(compare, warning[place]) for warning in warnings)
    value = _VALUES[compare.field](run)
    kind = FIELDS[compare.field].type
    if kind in NUMERIC:
        return _measures(compare, value)
    if kind is Type.TEXTS:
        texts: Sequence[str] = value
        return any(_fits(compare, text) for text in texts)
    if kind is Type.WORDS:
        return _pattern(str(compare.value), compare.pattern).search(value) is not None
    return _fits(compare, value)


def _measures(compare: Compare, value: Any) -> bool:
    if value is None:
        return False
    if compare.pattern:
        return True
    bound = Decimal(repr(compare.value)) if isinstance(value, Decimal) else float(compare.value)
    return bool(
        {
            "=": value == bound,
            "<": value < bound,
            "<=": value <= bound,
            ">": value > bound,
            ">=": value >= bound,
        }[compare.operator]
    )


def _fits(compare: Compare, text: str) -> bool:
    wanted = str(compare.value)
    if not compare.pattern:
        return text == wanted
    return text != "" if wanted == "*" else _pattern(wanted, True, whole=True).fullmatch(text) is not None


@lru_cache(256)
def _pattern(text: str, stars: bool, *, whole: bool = False) -> re.Pattern[str]:
    """`*` stands for anything, if `stars`; words are found in any letter case, whole texts in theirs."""
    parts = text.split("*") if stars else [text]
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL | (0 if whole else re.IGNORECASE))
