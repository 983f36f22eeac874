"""Waste is a category of its own: it costs, but nothing goes in circles."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mappers.loops.configure import configured
from mappers.loops.detectors import WASTE
from mappers.loops.evaluator import Engine, Evaluator, Finding
from mappers.loops.fingerprint import output_step, tool_step
from mappers.loops.step import Step, StepKind
from mappers.loops.warnings import wasted

SECOND = 10**9


def call(number: int, *, tokens: int | None = None, takes_s: float = 1, failed: bool = False) -> Step:
    start = number * 10 * SECOND
    step = Step(
        f"{number:016x}", StepKind.CALL, agent="a", start_ns=start, end_ns=start + int(takes_s * SECOND)
    )
    step.input_tokens = step.tokens = tokens
    step.exact, step.failed, step.transient = 7, failed, failed
    return step


def found(steps: list[Step], engine: Engine | None = None) -> dict[str, Finding]:
    evaluator = Evaluator(engine or Engine())
    evaluator.feed_all(steps)
    return {
        finding.detector.name: finding
        for finding in evaluator.findings.values()
        if finding.detector.category == WASTE
    }


def test_refusals_tried_again_at_once_are_a_storm() -> None:
    assert found([call(n, failed=True) for n in range(4)])["retry_storm"].count == 4
    assert "retry_storm" not in found([call(n, failed=True) for n in range(3)])
    assert "retry_storm" not in found([call(n * 3, failed=True) for n in range(6)])


def test_a_tool_that_is_overloaded_is_a_storm_too() -> None:
    steps = []
    for number in range(5):
        step = Step(
            str(number), StepKind.TOOL, tool="get", start_ns=number * SECOND, end_ns=number * SECOND + 5
        )
        steps.append(tool_step(step, '{"url": "/x"}', None, "503 Service Unavailable"))
    assert found(steps)["retry_storm"].facts["what"] == "get"


def test_a_context_that_only_grows() -> None:
    growing = [call(n, tokens=10_000 + n * 6_000) for n in range(12)]
    assert "context_growth" in found(growing)
    shrinking = [call(n, tokens=10_000 + n * 6_000 if n != 6 else 5_000) for n in range(12)]
    assert "context_growth" not in found(shrinking)
    assert "context_growth" not in found([call(n, tokens=100 + n * 100) for n in range(12)])
    limited = configured({"context_growth": {"limits": {"m": 1000}}})
    step = call(1, tokens=900)
    step.model = "m"
    assert "context_growth" in found([step], limited)


@pytest.mark.parametrize(("steps", "severity"), [(159, None), (170, "info"), (230, "warning")])
def test_the_budget_of_steps(steps: int, severity: str | None) -> None:
    finding = found([call(n) for n in range(steps)]).get("budgets")
    assert (finding.severity if finding else None) == severity


def test_budgets_of_tokens_and_money() -> None:
    engine = configured({"budgets": {"tokens": 1000, "cost_usd": 0.5}})
    assert found([call(1, tokens=1200)], engine)["budgets"].severity == "warning"
    step = call(1)
    step.cost_nano_usd = int(Decimal("0.45") * 10**9)
    assert found([step], engine)["budgets"].facts["spent"] == "0.45 of 0.5 US dollars"
    assert found([call(1, tokens=700)], engine) == {}


def test_what_a_run_spends_on_its_budget_is_not_wasted() -> None:
    engine = configured({"budgets": {"tokens": 1000}})
    finding = found([call(n, tokens=300) for n in range(4)], engine)["budgets"]
    assert wasted(finding) == (None, None)
    said = finding.detector.describe(finding.tool, finding.count, finding.facts)
    assert said == "the run has used 1,200 of 1,000 tokens, 200 over the budget"


def test_the_budget_of_time() -> None:
    engine = configured({"budgets": {"duration_s": 100}})
    assert found([call(n) for n in range(8)], engine) == {}  # one in ten seconds
    early = found([call(n) for n in range(9)], engine)["budgets"]
    assert (early.severity, early.facts["spent"]) == ("info", "81 of 100 seconds")
    assert found([call(n) for n in range(11)], engine)["budgets"].severity == "warning"


def test_a_step_that_takes_very_long() -> None:
    assert found([call(1, takes_s=121)])["slow_step"].severity == "info"
    assert found([call(1, takes_s=119)]) == {}
    slow = output_step(call(1, takes_s=300), "A long answer that took its time.", "")
    assert "slow_step" in found([slow])
