"""The engine as it is configured: thresholds by name, detectors left out, detectors of others added."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from typing import Any

from mappers.loops.detectors import BUILTIN, Detector
from mappers.loops.evaluator import Engine
from mappers.loops.recent import CALLS, HANDOFFS, OUTPUTS, WINDOW, Novelty

NOVELTY = "novelty"
"""Name under which the thresholds of what counts as new are set, beside those of the detectors."""


MOST = {
    **dict.fromkeys(
        (
            *(f"exact_repeat.{name}" for name in ("chain", "total", "row", "trickle", "blind", "poll")),
            *(f"same_error.{name}" for name in ("chain", "total", "class_chain")),
            *(f"same_result.{name}" for name in ("chain", "total")),
            "empty_results.chain",
            "near_repeat.chain",
            "error_streak.length",
            "no_progress.window",
            "no_progress.idle",
        ),
        WINDOW + 1,
    ),
    "handoff_loop.chain": HANDOFFS + 1,
    "repeated_output.chain": OUTPUTS + 1,
    "retry_storm.failures": CALLS + 1,
    "context_growth.calls": CALLS + 1,
}
"""With more a detector could never hold: the remembered steps, and the one that is looked at."""


def configured(
    thresholds: Mapping[str, Mapping[str, Any]],
    disabled: Collection[str] = (),
    others: Iterable[Detector] = (),
) -> Engine:
    """The engine with these thresholds.

    Args:
        thresholds: by detector (or `novelty`) and threshold.
        disabled: names of detectors that are not asked.
        others: detectors that come after our own.

    Raises:
        ValueError: a name is not known or a value does not fit, in words for the one who wrote it.
    """
    detectors = [*BUILTIN, *others]
    names = {detector.name for detector in detectors}
    for name in [*disabled, *(name for name in thresholds if name != NOVELTY)]:
        if name not in names:
            raise ValueError(f"there is no loop detector {name!r}; there are {', '.join(sorted(names))}")
    asked = [
        _changed(detector, detector.name, thresholds.get(detector.name, {}))
        for detector in detectors
        if detector.name not in disabled
    ]
    return Engine(asked, _changed(Novelty(), NOVELTY, thresholds.get(NOVELTY, {})))


def _changed(thing: Any, name: str, values: Mapping[str, Any]) -> Any:
    if not values:
        return thing
    known = {field.name: field for field in fields(thing)} if is_dataclass(thing) else {}
    given = {}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{name} has no threshold {key!r}; it has {', '.join(known) or 'none'}")
        given[key] = _fitting(f"{name}.{key}", getattr(thing, key), value)
    return replace(thing, **given)


def _fitting(where: str, default: Any, value: Any) -> Any:
    """The value as the default's type; limits that are off by default take any positive number."""
    if isinstance(default, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping")
        return dict(value)
    if value is None and (default is None or where == "budgets.steps"):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"{where} must be a number that is not negative, not {value!r}")
    if where == "budgets.cost_usd":
        return Decimal(str(value))
    if isinstance(default, int) and value != int(value):
        raise ValueError(f"{where} must be a whole number, not {value!r}")
    if value > (most := MOST.get(where, value)):
        raise ValueError(f"{where} can be {most} at most, for no more is remembered")
    return type(default)(value) if isinstance(default, (int, float)) else value
