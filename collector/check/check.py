"""Asks a collector for runs and compares them with budgets."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("info", "warning", "critical")
NEVER = "never"
TIMEOUT_S = 30.0
PAGE = 1000


class CheckError(Exception):
    """The runs can not be checked: the collector does not answer, or knows none."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs: those named, else those of a filter."""

    run_ids: Sequence[str] = ()
    since: str = ""
    project: str = ""
    session: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a run may have; None: anything."""

    loops: str = "warning"
    """Severity from which a loop warning breaks the check; `never`."""
    waste: str = NEVER
    """The same for waste warnings."""
    cost_usd: float | None = None
    tokens: int | None = None
    duration_s: float | None = None
    steps: int | None = None
    """Model calls, tool calls and handoffs."""
    failed_runs: bool = True
    """Whether runs may fail."""


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    """A warning's type, or `cost`, `tokens`, `duration`, `steps`, `failed`."""
    severity: str
    message: str
    suggestion: str = ""
    identity: str = ""
    """The warning's id: a run may have several of one rule."""


@dataclass(slots=True)
class Outcome:
    """One run and what is wrong with it."""

    run: dict[str, Any]
    violations: list[Violation] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Budgets that could not be judged, since the run does not say."""


def check(url: str, token: str, selection: Selection, budgets: Budgets) -> list[Outcome]:
    """Every selected run with its violations.

    Args:
        url: of the API, without `/api/v1`.

    Raises:
        CheckError: the collector does not answer, a run is not there, or no run is selected.
    """
    outcomes = [_judge(run, _warnings(url, token, run), budgets) for run in _runs(url, token, selection)]
    if not outcomes:
        raise CheckError("no run is selected: nothing was checked")
    return outcomes


def _runs(url: str, token: str, selection: Selection) -> Iterator[dict[str, Any]]:
    for run_id in selection.run_ids:
        yield _get(url, token, f"/runs/{urllib.parse.quote(run_id, safe='')}")
    if selection.run_ids:
        return
    asked = {
        "since": selection.since,
        "project": selection.project,
        "session": selection.session,
        "q": selection.query,
        "limit": str(PAGE),
    }
    query = {name: value for name, value in asked.items() if value}
    while True:
        page = _get(url, token, "/runs?" + urllib.parse.urlencode(query))
        yield from page["data"]
        if page["page"]["next_cursor"] is None:
            return
        query["cursor"] = page["page"]["next_cursor"]


def _warnings(url: str, token: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _get(url, token, f"/runs/{run['run_id']}/warnings")["data"]
    return found


def _judge(run: dict[str, Any], warnings: Sequence[dict[str, Any]], budgets: Budgets) -> Outcome:
    outcome = Outcome(run)
    for warning in warnings:
        least = budgets.loops if warning["category"] == "loop" else budgets.waste
        if warning["primary"] and least != NEVER and _rank(warning["severity"]) >= _rank(least):
            outcome.violations.append(
                Violation(
                    warning["type"],
                    warning["severity"],
                    warning["message"],
                    warning["suggestion"] or "",
                    warning["warning_id"],
                )
            )
    counts = run["counts"]
    duration_ms = run["duration_ms"]
    steps = counts["llm_calls"] + counts["tool_calls"] + counts["handoffs"]
    duration_s = None if duration_ms is None else duration_ms / 1000
    for rule, unit, most, used in (
        ("cost", " US dollars", budgets.cost_usd, run["cost_usd"]),
        ("tokens", " tokens", budgets.tokens, run["usage"]["total"]),
        ("duration", " s", budgets.duration_s, duration_s),
        ("steps", " steps", budgets.steps, steps),
    ):
        if most is None:
            continue
        if used is None:
            outcome.unknown.append(rule)
        elif used > most:
            outcome.violations.append(
                Violation(rule, "critical", f"The run took {used:,.6g}{unit}; {most:,.6g} are allowed.")
            )
    if not budgets.failed_runs and run["status"] == "failed":
        reason = (run["error"] or {}).get("message") or "no reason is known"
        outcome.violations.append(Violation("failed", "critical", f"The run failed: {reason}"))
    return outcome


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity)


def _get(url: str, token: str, path: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise CheckError(f"{url!r} is not an address of an API")
    request = urllib.request.Request(  # noqa: S310  # http or https, see above
        f"{url.rstrip('/')}/api/v1{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise CheckError(f"{path.partition('?')[0]}: {_detail(error)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CheckError(f"the collector at {url} does not answer: {error}") from None


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
