from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mappers.loops.configure import configured
from mappers.loops.detectors import BUILTIN
from mappers.loops.evaluator import Engine, Evaluator
from mappers.loops.recent import Novelty
from tests.mappers.loops.scenarios import LOOPS

README = Path(__file__).parents[3] / "mappers/loops/README.md"


def found(engine: Engine, name: str) -> set[str]:
    evaluator = Evaluator(engine)
    evaluator.feed_all(LOOPS[name][1]().steps)
    return {finding.detector.name for finding in evaluator.findings.values()}


def test_thresholds_are_set_by_name() -> None:
    assert "exact_repeat" in found(configured({}), "the_same_call")
    assert "exact_repeat" not in found(configured({"exact_repeat": {"chain": 9}}), "the_same_call")


def test_a_detector_can_be_left_out() -> None:
    assert "exact_repeat" not in found(configured({}, ["exact_repeat"]), "the_same_call")


def test_limits_that_are_off_can_be_set_and_those_that_are_on_taken_away() -> None:
    assert "budgets" in found(configured({"budgets": {"steps": 4}}), "the_same_call")
    configured({"budgets": {"steps": None, "tokens": 1000, "cost_usd": 0.5}})


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ({"no_such": {}}, "no loop detector 'no_such'"),
        ({"exact_repeat": {"chains": 3}}, "no threshold 'chains'"),
        ({"exact_repeat": {"chain": "three"}}, "must be a number"),
        ({"exact_repeat": {"chain": 2.5}}, "must be a whole number"),
        ({"exact_repeat": {"chain": True}}, "must be a number"),
        ({"novelty": {"near": -1}}, "not negative"),
        ({"context_growth": {"calls": 11}}, "can be 10 at most"),
        ({"no_progress": {"window": 40}}, "can be 31 at most"),
    ],
)
def test_what_is_wrong_is_said(thresholds: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        configured(thresholds)


def test_every_detector_and_threshold_is_documented_with_its_default() -> None:
    text = README.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", text, re.MULTILINE))
    for detector in BUILTIN:
        for threshold in fields(detector):  # type: ignore[arg-type]  # every detector is a dataclass
            default = getattr(detector, threshold.name)
            said = f"{default:g}" if isinstance(default, float) else str(default)
            shown = (
                f"`{threshold.name}` {said}" if isinstance(default, (int, float)) else f"`{threshold.name}`"
            )
            assert shown in rows[detector.name], shown
    for threshold in fields(Novelty):
        assert f"`{threshold.name}` {getattr(Novelty(), threshold.name):g}" in text
