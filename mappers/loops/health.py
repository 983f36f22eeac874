"""How well a run is, as one number with its reasons."""

from __future__ import annotations

from collections.abc import Sequence

from mappers.loops.detectors import LOOP
from mappers.model import Run, RunStatus, Warning

PENALTIES = {"info": 10, "warning": 30, "critical": 50}
"""For each incident, by the severity of the warning that leads it; waste costs half, what is resolved a third."""
FAILED = 30
ERRORS = 20
"""Most that failing calls cost, if all fail."""
LABELS = ((80, "healthy"), (50, "degraded"), (0, "unhealthy"))
STUCK = "stuck"
"""A loop that stands and is at least a warning."""


def judge(run: Run, warnings: Sequence[Warning]) -> None:
    """Fills the run's health, its worst warning, and how many loop warnings stand."""
    standing = sorted(
        (warning for warning in warnings if warning.state != "retracted"),
        key=lambda warning: (warning.first_ns, warning.warning_id),
    )
    loops = [warning for warning in standing if warning.category == LOOP]
    run.counts.warnings = len(loops)
    worst = max(loops, key=lambda warning: (_rank(warning), warning.primary), default=None)
    run.top_warning, run.top_severity = (worst.type, worst.severity) if worst else ("", "")
    score = 100.0
    reasons = []
    for warning in standing:
        if not warning.primary:
            continue
        penalty = float(PENALTIES[warning.severity])
        if warning.category != LOOP:
            penalty /= 2
        if warning.state == "resolved":
            penalty /= 3
        score -= penalty
        reasons.append(f"-{penalty:.0f} {warning.message}")
    if run.status == RunStatus.FAILED:
        score -= FAILED
        reasons.append(f"-{FAILED} The run failed.")
    calls = run.counts.llm_calls + run.counts.tool_calls
    failures = run.counts.llm_errors + run.counts.tool_errors
    if calls and failures:
        penalty = ERRORS * min(1.0, failures / calls)
        score -= penalty
        reasons.append(f"-{penalty:.0f} {failures} of {calls} calls failed.")
    run.health_score = max(0, round(score))
    stuck = any(warning.state == "active" and warning.severity != "info" for warning in loops)
    run.health_label = STUCK if stuck else next(label for least, label in LABELS if run.health_score >= least)
    run.health_reasons = tuple(reasons)


def _rank(warning: Warning) -> int:
    return ("info", "warning", "critical").index(warning.severity)
