"""The detectors, in the order in which they win: of several findings on the same steps the first is primary."""

from __future__ import annotations

from collections.abc import Sequence

from mappers.loops.detectors.base import LOOP, WASTE, Detector, Hit
from mappers.loops.detectors.budgets import Budgets
from mappers.loops.detectors.context_growth import ContextGrowth
from mappers.loops.detectors.cycle import Cycle
from mappers.loops.detectors.empty_results import EmptyResults
from mappers.loops.detectors.error_streak import ErrorStreak
from mappers.loops.detectors.exact_repeat import ExactRepeat
from mappers.loops.detectors.handoff_loop import HandoffLoop
from mappers.loops.detectors.near_repeat import NearRepeat
from mappers.loops.detectors.no_progress import NoProgress
from mappers.loops.detectors.repeated_output import RepeatedOutput
from mappers.loops.detectors.retry_storm import RetryStorm
from mappers.loops.detectors.same_error import SameError
from mappers.loops.detectors.same_result import SameResult
from mappers.loops.detectors.slow_step import SlowStep

BUILTIN: Sequence[Detector] = (
    ExactRepeat(),
    SameError(),
    Cycle(),
    SameResult(),
    EmptyResults(),
    NearRepeat(),
    ErrorStreak(),
    HandoffLoop(),
    RepeatedOutput(),
    NoProgress(),
    RetryStorm(),
    ContextGrowth(),
    Budgets(),
    SlowStep(),
)

__all__ = [
    "BUILTIN",
    "LOOP",
    "WASTE",
    "Budgets",
    "ContextGrowth",
    "Cycle",
    "Detector",
    "EmptyResults",
    "ErrorStreak",
    "ExactRepeat",
    "HandoffLoop",
    "Hit",
    "NearRepeat",
    "NoProgress",
    "RepeatedOutput",
    "RetryStorm",
    "SameError",
    "SameResult",
    "SlowStep",
]
