"""From findings to warnings: identity, severity, state, incidents, cost and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from mappers.dollars import dollars
from mappers.loops.detectors import LOOP
from mappers.loops.evaluator import ENGINE_VERSION, Engine, Evaluator, Finding
from mappers.loops.history import History
from mappers.model import Run, RunStatus, Warning

CRITICAL_COUNT = 8
CRITICAL_SHARE = 0.5
"""Of the run's tokens, spent since the onset."""
GROWN = 2
"""Repetitions beyond the threshold that make an info a warning."""
RESOLVED_AFTER = 10
"""Steps with something new after which it is over."""
SEVERITIES = ("info", "warning", "critical")


def warning_id(tenant: str, thread: str, detector: str, key: int | str) -> str:
    """32 hex digits; the same for the same thread, detector and key, in whatever order the spans came."""
    parts = "\0".join((tenant, thread, detector, str(key)))
    return blake2b(parts.encode(errors="replace"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose warnings they are."""

    run: Run
    """The run that carries them."""
    thread: str
    """The run's id; `session_thread` of a session; `conversation_thread` of a conversation."""


def session_thread(project: str, session_id: str) -> str:
    return f"session:{project}:{session_id}"


def conversation_thread(project: str, conversation: str) -> str:
    return f"conversation:{project}:{conversation}"


class _Told(NamedTuple):
    """A finding that a warning may come of."""

    finding: Finding
    identity: str
    """Of its warning."""
    lies_in: set[str]
    """The events, or the runs, of its evidence."""


def warnings_of(
    evaluator: Evaluator, bearer: Bearer, run_of: Callable[[str], Run] | None = None
) -> list[Warning]:
    """The warnings that the findings come to, the primary ones first.

    Args:
        run_of: a session's run by its id. Then ids of events begin with the run's, and of what lies in more than one
            run each incident's primary warning is said, and carried by the latest run that it lies in.
    """
    rank = evaluator.engine.rank
    found = sorted(
        evaluator.findings.values(),
        key=lambda finding: (rank[finding.detector.name], finding.onset_ns, finding.onset),
    )
    if run_of is None:
        told = [_Told(finding, _identity(finding, bearer), set(finding.evidence)) for finding in found]
        return [
            _warning(one, evaluator, bearer, incident)
            for one, incident in zip(told, _incidents(told), strict=True)
        ]
    told = [
        _Told(finding, _identity(finding, bearer), within)
        for finding in found
        if len(within := {_run_id_of(event_id) for event_id in finding.evidence}) > 1
    ]
    return [
        _warning(one, evaluator, Bearer(run_of(_run_id_of(one.finding.last)), bearer.thread), incident)
        for one, incident in zip(told, _incidents(told), strict=True)
        if incident == one.identity
    ]


def _run_id_of(event_id: str) -> str:
    return event_id.partition("/")[0]


def _identity(finding: Finding, bearer: Bearer) -> str:
    return warning_id(bearer.run.tenant, bearer.thread, finding.detector.name, finding.key)


def _incidents(found: Sequence[_Told]) -> list[str]:
    """For each finding the id of the warning that leads its incident: the first in rank of all of one category that
    have something in common."""
    leaders: list[tuple[str, str, set[str]]] = []
    led = []
    for finding, identity, things in found:
        for leader, category, shared in leaders:
            if category == finding.detector.category and not shared.isdisjoint(things):
                shared |= things
                led.append(leader)
                break
        else:
            leaders.append((identity, finding.detector.category, things))
            led.append(identity)
    return led


def _warning(told: _Told, evaluator: Evaluator, bearer: Bearer, incident: str) -> Warning:
    finding, identity, _ = told
    run, detector = bearer.run, finding.detector
    tokens, cost = wasted(finding)
    facts = {"tool": finding.tool or "the agent", **finding.facts}
    return Warning(
        warning_id=identity,
        run_id=run.run_id,
        tenant=run.tenant,
        project=run.project,
        type=detector.name,
        category=detector.category,
        severity=_severity(finding, evaluator, run, tokens),
        state="resolved" if evaluator.recent.progress - finding.progress >= RESOLVED_AFTER else "active",
        count=finding.count,
        message=_message(finding, facts, tokens, cost),
        suggestion=detector.suggestion.format_map(facts),
        first_event_id=finding.first,
        onset_event_id=finding.onset,
        last_event_id=finding.last,
        evidence=finding.evidence,
        wasted_tokens=tokens,
        wasted_cost_usd=cost,
        primary=identity == incident,
        incident_id=incident,
        tool=finding.tool,
        agent=finding.agent,
        thread=bearer.thread,
        session_id=run.session_id,
        engine_version=f"{ENGINE_VERSION}/{getattr(detector, 'version', '1')}",
        first_ns=finding.first_ns,
        last_ns=finding.last_ns,
    )


def of_history(engine: Engine, history: History, event_id: str, run: Run) -> list[Warning]:
    """The warnings of what a call's history tells; what was spent on it other traces know."""
    thread = conversation_thread(run.project, history.conversation)
    detectors = {detector.name: detector for looking in engine.looking.values() for detector in looking}
    repeats = sorted(
        (repeat for repeat in history.repeats if repeat.detector in detectors),
        key=lambda repeat: (engine.rank[repeat.detector], str(repeat.key)),
    )
    warnings: list[Warning] = []
    for repeat in repeats:
        detector = detectors[repeat.detector]
        identity = warning_id(run.tenant, thread, repeat.detector, repeat.key)
        facts = {"tool": repeat.tool, **repeat.facts}
        severity = "info" if repeat.times < repeat.threshold + GROWN else "warning"
        what = detector.describe(repeat.tool, repeat.times, facts)
        warnings.append(
            Warning(
                warning_id=identity,
                run_id=run.run_id,
                tenant=run.tenant,
                project=run.project,
                type=repeat.detector,
                category=detector.category,
                severity="critical" if repeat.times >= CRITICAL_COUNT else severity,
                state="active",
                count=repeat.times,
                message=f"In the history of this call {what}.",
                suggestion=detector.suggestion.format_map(facts),
                first_event_id=event_id,
                onset_event_id=event_id,
                last_event_id=event_id,
                evidence=[event_id],
                primary=not warnings,
                incident_id=warnings[0].warning_id if warnings else identity,
                tool=repeat.tool,
                thread=thread,
                session_id=run.session_id,
                engine_version=f"{ENGINE_VERSION}/{getattr(detector, 'version', '1')}",
                first_ns=run.start_ns,
                last_ns=run.end_ns or run.start_ns,
            )
        )
    return warnings


def wasted(finding: Finding) -> tuple[int | None, Decimal | None]:
    """Tokens and US dollars of model calls after the onset, up to the last event of the evidence. None where
    no call said, which is not the same as nothing, and where it was not in vain."""
    if not getattr(finding.detector, "in_vain", True):
        return None, None
    before, after = finding.at_onset, finding.at_last
    tokens = after.tokens - before.tokens if after.tokens_known > before.tokens_known else None
    nano_usd = after.cost_nano_usd - before.cost_nano_usd if after.cost_known > before.cost_known else None
    return tokens, None if nano_usd is None else Decimal(nano_usd) / 10**9


def _severity(finding: Finding, evaluator: Evaluator, run: Run, tokens: int | None) -> str:
    """Info at the threshold; a warning when it has grown or the run ended in it; critical when it is long or has
    taken half of the run's tokens."""
    if finding.severity:
        return finding.severity
    if finding.detector.category != LOOP:
        return "warning"
    ended = run.status in (RunStatus.COMPLETED, RunStatus.FAILED)
    grown = finding.count >= finding.threshold + GROWN
    if not grown and not (ended and evaluator.recent.progress == finding.progress):
        return "info"
    total = evaluator.recent.tokens
    if finding.count >= CRITICAL_COUNT or (grown and tokens and total and tokens >= CRITICAL_SHARE * total):
        return "critical"
    return "warning"


def _message(finding: Finding, facts: dict[str, str], tokens: int | None, cost: Decimal | None) -> str:
    what = finding.detector.describe(finding.tool, finding.count, facts)
    spent = []
    if tokens:
        spent.append(f"{tokens:,} tokens")
    if cost:
        spent.append(dollars(cost))
    began = "it began to repeat" if finding.detector.category == LOOP else "this was first seen"
    text = f"{what}; {' and '.join(spent)} spent since {began}." if spent else f"{what}."
    return text[0].upper() + text[1:]
