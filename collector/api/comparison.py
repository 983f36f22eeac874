"""Two runs side by side."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator, Sequence
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route, parameters_of
from collector.api.parameters import Parameter, Parameters, Type
from collector.api.problems import Problem, invalid
from collector.content import ContentReader
from collector.documents import models
from collector.documents.models import described
from collector.documents.render import run_document
from collector.doors.keys import Scope
from mappers.compare import Pair, Step, aligned, changes, steps_of
from mappers.messages import read_messages
from mappers.model import Event, Kind, Run

ALIGNMENTS = ("auto", "index")
MOST_LISTED = 1_000
COMPARE_PARAMETERS = (
    Parameter("a", "id of a run; required"),
    Parameter("b", "id of the run that it is held against; required"),
    Parameter(
        "align",
        "auto pairs the longest sequence of steps that both share, index the steps of the same number",
        choices=ALIGNMENTS,
        default="auto",
    ),
    Parameter(
        "max_bytes",
        "largest text difference that is shown",
        Type.INTEGER,
        low=0,
        high=1 << 20,
        default=65_536,
    ),
    Parameter("limit", "steps that are listed", Type.INTEGER, low=0, high=MOST_LISTED, default=MOST_LISTED),
)


@described
class StepSummary(TypedDict):
    """A step of one of the runs."""

    event_id: str
    kind: str
    name: str
    """Tool, receiving agent, model or name, by its kind."""
    agent: str | None


@described
class StepPair(TypedDict):
    """Steps that belong together, or a step that only one of the runs has."""

    a: StepSummary | None
    b: StepSummary | None
    differs: list[str]
    """step, model, input, requests, output, arguments, result, status; empty: they are alike."""


@described
class Change(TypedDict):
    """A difference within a document."""

    op: str
    """add, remove or replace."""
    path: str
    """JSON pointer; empty for the whole."""
    a: Any
    b: Any


@described
class Divergence(StepPair):
    """The first pair of steps that is not alike."""

    at: int
    """Number of the pair, from 0."""
    diff: list[Change] | None
    """Of a tool's arguments, else of its result or of what a model read or wrote; null without the scope content."""


class StepComparison(TypedDict):
    """How the steps compare."""

    a: int
    b: int
    paired: int
    alike: int
    only_a: int
    only_b: int
    first_divergence: Divergence | None
    pairs: list[StepPair]
    truncated: bool


class Names(TypedDict):
    """Names by the run that has them."""

    only_a: list[str]
    only_b: list[str]
    both: list[str]


@described
class Comparison(TypedDict):
    """Two runs side by side."""

    a: models.Run
    b: models.Run
    delta: dict[str, float | None]
    """Numbers of b less those of a; null where one is not known."""
    steps: StepComparison
    prompt_diff: dict[str, str] | None
    """Unified differences of the first call's messages by role, where there are any; null without the scope content."""
    patch_omitted: list[str]
    """Roles whose difference is larger than `max_bytes`."""
    agents: Names
    """That took part; one that only a has stands for one that only b has when steps are paired."""
    tools: Names
    """That were executed."""
    offered_tools: Names
    """That models were offered."""
    warnings: Names
    """Types of warnings."""


class ComparisonRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route(
                "GET",
                "/api/v1/compare",
                self.compare,
                Comparison,
                parameters=COMPARE_PARAMETERS,
                problems=(404,),
            )
        ]

    async def compare(self, request: Request) -> Response:
        """Two runs side by side: numbers, steps with the first that differs, prompts, tools and warnings."""
        parameters = parameters_of(request)
        a, b = await asyncio.gather(self._run(request, "a"), self._run(request, "b"))
        content = caller_of(request).may(Scope.CONTENT)
        return json_response(await self.read(self._comparison, a, b, parameters, content))

    async def _run(self, request: Request, name: str) -> Run:
        run_id = parameters_of(request).text(name)
        if run_id is None:
            raise invalid(name, "is missing: give the id of a run")
        caller = caller_of(request)
        run = await self.read(self.api.reader.run, caller.tenant, run_id.lower())
        if run is None or caller.project not in ("", run.project):
            raise Problem(404, f"There is no run {run_id!r}. A run's id is its trace id, 32 hex digits.")
        return run

    def _comparison(self, a: Run, b: Run, parameters: Parameters, content: bool) -> Comparison:
        events = [self.api.reader.events(run) for run in (a, b)]
        steps = [steps_of(found) for found in events]
        pairs = aligned(steps[0], steps[1], by_index=parameters.choice("align") == "index")
        diffs: dict[str, str] | None = None
        omitted: list[str] = []
        if content:
            prompts = [
                self._prompts(run, found, of) for run, found, of in zip((a, b), events, steps, strict=True)
            ]
            diffs = dict(_prompt_diffs(*prompts))
            omitted = [
                role for role, diff in diffs.items() if len(diff.encode()) > parameters.integer("max_bytes")
            ]
            diffs = {role: diff for role, diff in diffs.items() if role not in omitted}
        told = self.api.reader.with_said([a, b]) if content else (a, b)
        documents = [run_document(run, parameters.now_ns, content=content) for run in told]
        offered = [
            {name for event in found if not event.duplicate_of for name in event.offered_tools}
            for found in events
        ]
        warned = [
            {warning.type for warning in self.api.reader.warnings(run.tenant, run.run_id)} for run in (a, b)
        ]
        return {
            "a": documents[0],
            "b": documents[1],
            "delta": dict(_delta(documents[0], documents[1])),
            "steps": _step_comparison(steps, pairs, parameters.integer("limit"), content=content),
            "prompt_diff": diffs,
            "patch_omitted": omitted,
            "agents": _names({*a.agents}, {*b.agents}),
            "tools": _names({*a.tools}, {*b.tools}),
            "offered_tools": _names(*offered),
            "warnings": _names(*warned),
        }

    def _prompts(self, run: Run, events: Sequence[Event], steps: Sequence[Step]) -> dict[str, str]:
        """What the first model call read before it was answered, by role."""
        first = next((step.event for step in steps if step.event.kind == Kind.LLM), None)
        if first is None:
            return {}
        reader = ContentReader(self.api.reader, self.api.normalizer(), run, events)
        found: dict[str, str] = {}
        for message in read_messages(next(iter(reader.whole([first]))).read):
            role = message.role or "user"
            if role in ("assistant", "tool"):
                break
            found[role] = f"{found[role]}\n{message.text}" if role in found else message.text
        return found


def _prompt_diffs(a: dict[str, str], b: dict[str, str]) -> Iterator[tuple[str, str]]:
    for role in dict.fromkeys([*a, *b]):
        if a.get(role) != b.get(role):
            lines = difflib.unified_diff(
                a.get(role, "").splitlines(), b.get(role, "").splitlines(), "a", "b", lineterm=""
            )
            yield role, "\n".join(lines)


def _delta(a: models.Run, b: models.Run) -> Iterator[tuple[str, float | None]]:
    for name, left, right in (
        ("duration_ms", a["duration_ms"], b["duration_ms"]),
        ("cost_usd", a["cost_usd"], b["cost_usd"]),
        ("health.score", a["health"]["score"], b["health"]["score"]),
        # mypy takes no names of a TypedDict but literal ones, and these are its own.
        *((f"usage.{name}", a["usage"][name], b["usage"][name]) for name in a["usage"]),  # type: ignore[literal-required]  # its own names
        *((f"counts.{name}", a["counts"][name], b["counts"][name]) for name in a["counts"]),  # type: ignore[literal-required]  # its own names
    ):
        yield name, None if left is None or right is None else round(right - left, 9)


def _step_comparison(
    steps: Sequence[Sequence[Step]], pairs: Sequence[Pair], limit: int, *, content: bool
) -> StepComparison:
    alike = [not pair.differences for pair in pairs]
    first = alike.index(False) if False in alike else None
    return {
        "a": len(steps[0]),
        "b": len(steps[1]),
        "paired": sum(pair.a is not None and pair.b is not None for pair in pairs),
        "alike": sum(alike),
        "only_a": sum(pair.b is None for pair in pairs),
        "only_b": sum(pair.a is None for pair in pairs),
        "first_divergence": None
        if first is None
        else {"at": first, **_pair_document(pairs[first]), "diff": _diff(pairs[first]) if content else None},
        "pairs": [_pair_document(pair) for pair in pairs[:limit]],
        "truncated": len(pairs) > limit,
    }


def _pair_document(pair: Pair) -> StepPair:
    return {"a": _step_document(pair.a), "b": _step_document(pair.b), "differs": pair.differences}


def _step_document(step: Step | None) -> StepSummary | None:
    if step is None:
        return None
    event = step.event
    ordinal = f".{event.seq}" if event.seq else ""
    name = event.tool or event.handoff_to or event.response_model or event.request_model or event.name
    return {
        "event_id": f"{event.span_id}{ordinal}.{'handoff' if event.kind == Kind.HANDOFF else 'start'}",
        "kind": event.kind,
        "name": name,
        "agent": step.agent or None,
    }


def _diff(pair: Pair) -> list[Change]:
    """What is different in what the pair's steps read, else in what they wrote."""
    if pair.a is None or pair.b is None:
        return []
    a, b = pair.a.event, pair.b.event
    return cast("list[Change]", changes(a.input, b.input) or changes(a.output, b.output))


def _names(a: set[str], b: set[str]) -> Names:
    return {"only_a": sorted(a - b), "only_b": sorted(b - a), "both": sorted(a & b)}
