"""What an assistant can ask, as calls of the JSON API with the caller's own key: lists, then a summary, then one thing.

Answers are cut to what fits into a conversation, and say so: `truncated`, and how to get at the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Query = Mapping[str, str | int]
Ask = Callable[[str, Query], Awaitable[Any]]
"""GETs a path of the API, and returns its document. Raises: RefusedError."""

MOST_ROWS = 50
MOST_CHARS = 20_000
USUAL_CHARS = 2_000
MOST_FAILURES = 10
FAILED = ",".join(
    f"{kind}_failed"
    for kind in ("tool_call", "llm_call", "embedding", "retrieval", "guardrail", "agent", "workflow", "run")
)
"""What can fail."""


class RefusedError(Exception):
    """The API refused; the message says why."""

    @classmethod
    def told(cls, problem: Mapping[str, Any], status: int) -> RefusedError:
        """Of the API's problem document: what is wrong, and what would have been right."""
        says = str(problem.get("detail", status))
        allowed = [str(one) for error in problem.get("errors", ()) for one in error.get("allowed", ())]
        return cls(f"{says}; there are {', '.join(allowed)}" if allowed else says)


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    """JSON Schema of each."""
    required: Sequence[str]
    run: Callable[[Ask, dict[str, Any]], Awaitable[Any]]

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": dict(self.parameters),
            "required": list(self.required),
            "additionalProperties": False,
        }


def _text(purpose: str) -> dict[str, Any]:
    return {"type": "string", "description": purpose}


def _number(purpose: str, usual: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "description": purpose, "minimum": 1, "maximum": most, "default": usual}


Q = _text(
    "search text, e.g. `status:failed model:gpt-4o* cost>0.05 warning:exact_repeat tool:search`; words without a field"
    " are looked for in what was said"
)
SINCE = _text("RFC 3339, or before now such as -24h")
RUN_ID = _text("id of the run, 32 hex digits")
CURSOR = _text("next_cursor of the answer before")
LIMIT = _number("how many", 10, MOST_ROWS)


async def list_runs(ask: Ask, given: dict[str, Any]) -> Any:
    limit = _limit(given)
    page = await ask("/runs", _given(given, "q", "since", "sort", "cursor") | {"limit": limit})
    return {"runs": [_line(run) for run in page["data"]], **_more(page)}


async def search(ask: Ask, given: dict[str, Any]) -> Any:
    words = '"' + str(given["text"]).replace("\\", " ").replace('"', " ") + '"'
    page = await ask("/runs", _given(given, "since", "cursor") | {"q": words, "limit": _limit(given)})
    return {
        "runs": [_line(run) for run in page["data"]],
        **_more(page),
        "searched": "names, errors, and the beginnings of what was read and written",
    }


async def list_warnings(ask: Ask, given: dict[str, Any]) -> Any:
    asked = _given(given, "type", "severity", "since", "cursor") | {"limit": _limit(given), "primary": "true"}
    page = await ask("/warnings", asked)
    return {"warnings": [_warning(one) for one in page["data"]], **_more(page)}


async def diagnose_run(ask: Ask, given: dict[str, Any]) -> Any:
    run_id = _id(given["run_id"])
    run = await ask(f"/runs/{run_id}", {})
    warnings = (await ask(f"/runs/{run_id}/warnings", {}))["data"]
    failed = await ask(f"/runs/{run_id}/events", {"type": FAILED, "limit": MOST_FAILURES})
    standing = [one for one in warnings if one["state"] != "retracted"]
    leading = [one for one in standing if one["primary"]] or standing
    return {
        **_line(run),
        "health": run["health"],
        "error": run["error"],
        "agents": run["agents"],
        "tools": run["tools"],
        "warnings": [_warning(one) | {"evidence": one["evidence"][:MOST_FAILURES]} for one in leading],
        "failures": [
            {"event_id": one["event_id"], "type": one["type"], "name": one["name"], "error": one["error"]}
            for one in failed["data"]
        ],
        "truncated": failed["page"]["next_cursor"] is not None,
        "next": "get_conversation for what was said, get_run for the course of events, get_event for one of them",
    }


async def get_run(ask: Ask, given: dict[str, Any]) -> Any:
    run_id = _id(given["run_id"])
    run = await ask(f"/runs/{run_id}", {})
    asked = _given(given, "cursor") | {"limit": int(given.get("limit", 40))}
    page = await ask(f"/runs/{run_id}/events", asked)
    return {"run": _line(run), "events": [_moment(one) for one in page["data"]], **_more(page)}


async def get_conversation(ask: Ask, given: dict[str, Any]) -> Any:
    asked = _given(given, "agent", "cursor") | {
        "limit": int(given.get("limit", 20)),
        "max_chars": int(given.get("max_chars", USUAL_CHARS)),
    }
    page = await ask(f"/runs/{_id(given['run_id'])}/messages", asked)
    names = ("role", "direction", "agent", "event_id", "parts")
    messages = [
        {name: message[name] for name in names if message[name] is not None} for message in page["data"]
    ]
    return {"messages": messages, **_more(page), "not_read": page["meta"]["truncated"]}


async def get_event(ask: Ask, given: dict[str, Any]) -> Any:
    event = await ask(f"/runs/{_id(given['run_id'])}/events/{_id(given['event_id'])}", {})
    kept = {name: value for name, value in event.items() if value not in (None, "", [], {})}
    return _cut(kept, int(given.get("max_chars", USUAL_CHARS)))


async def compare_runs(ask: Ask, given: dict[str, Any]) -> Any:
    found = await ask("/compare", {name: str(given[name]) for name in ("a", "b")} | {"limit": MOST_ROWS})
    first, second, steps = found["a"], found["b"], found["steps"]
    numbers = {
        "duration_ms": [run["duration_ms"] for run in (first, second)],
        "cost_usd": [run["cost_usd"] for run in (first, second)],
        **{f"usage.{name}": [run["usage"][name] for run in (first, second)] for name in first["usage"]},
        **{f"counts.{name}": [run["counts"][name] for run in (first, second)] for name in first["counts"]},
    }
    return {
        "a": _line(first),
        "b": _line(second),
        "differences": {
            name: {"a": a, "b": b, "b_minus_a": None if None in (a, b) else b - a}
            for name, (a, b) in numbers.items()
            if a != b
        },
        **{
            name: {side: found[name][side] for side in ("only_a", "only_b")}
            for name in ("agents", "tools", "offered_tools", "warnings")
        },
        "models": {
            "only_a": sorted(set(first["models"]) - set(second["models"])),
            "only_b": sorted(set(second["models"]) - set(first["models"])),
        },
        "steps": {name: steps[name] for name in ("a", "b", "paired", "alike", "only_a", "only_b")},
        "first_divergence": _cut(steps["first_divergence"], USUAL_CHARS),
        "prompt_diff": _cut(found["prompt_diff"], USUAL_CHARS),
    }


async def aggregates(ask: Ask, given: dict[str, Any]) -> Any:
    table = await ask("/aggregates", _given(given, "metrics", "by", "interval", "q", "since"))
    rows = table["data"][:MOST_ROWS]
    return {"rows": rows, "truncated": len(table["data"]) > len(rows) or table["meta"]["truncated"]}


async def explain_mapping(ask: Ask, given: dict[str, Any]) -> Any:
    found = await ask(f"/spans/{_id(given['run_id'])}/{_id(given['span_id'])}/mapping", {})
    return _cut(found, USUAL_CHARS)


TOOLS: Sequence[Tool] = (
    Tool(
        "list_runs",
        "Runs of LLM agents, newest first, a line each. Start here.",
        {
            "q": Q,
            "since": SINCE,
            "sort": {
                "type": "string",
                "enum": ["-started_at", "-cost", "-tokens", "-duration", "-warnings", "-last_activity"],
                "description": "largest first",
            },
            "limit": LIMIT,
            "cursor": CURSOR,
        },
        (),
        list_runs,
    ),
    Tool(
        "diagnose_run",
        "What is wrong with one run: its health, loop and waste warnings with what to do, and what failed.",
        {"run_id": RUN_ID},
        ("run_id",),
        diagnose_run,
    ),
    Tool(
        "get_run",
        "The course of one run: its entries in order, without what was said.",
        {"run_id": RUN_ID, "limit": _number("how many entries", 40, 200), "cursor": CURSOR},
        ("run_id",),
        get_run,
    ),
    Tool(
        "get_conversation",
        "What was said in one run: each message once, with calls of tools and their results.",
        {
            "run_id": RUN_ID,
            "agent": _text("only what this agent's calls read and wrote"),
            "max_chars": _number("longest text", USUAL_CHARS, MOST_CHARS),
            "limit": _number("how many messages", 20, 200),
            "cursor": CURSOR,
        },
        ("run_id",),
        get_conversation,
    ),
    Tool(
        "get_event",
        "One entry of a run with what was read and written.",
        {
            "run_id": RUN_ID,
            "event_id": _text("id of the entry"),
            "max_chars": _number("longest text", USUAL_CHARS, MOST_CHARS),
        },
        ("run_id", "event_id"),
        get_event,
    ),
    Tool(
        "list_warnings",
        "Loop and waste warnings of all runs, the latest first.",
        {
            "type": _text("types by commas, e.g. exact_repeat"),
            "severity": _text("info, warning, critical; several by commas"),
            "since": SINCE,
            "limit": LIMIT,
            "cursor": CURSOR,
        },
        (),
        list_warnings,
    ),
    Tool(
        "search",
        "Runs in which these words were said, in any language.",
        {"text": _text("words as they stand"), "since": SINCE, "limit": LIMIT, "cursor": CURSOR},
        ("text",),
        search,
    ),
    Tool(
        "compare_runs",
        "What differs between two runs: the first step at which they part, prompts, numbers, agents, models, tools.",
        {"a": RUN_ID, "b": RUN_ID},
        ("a", "b"),
        compare_runs,
    ),
    Tool(
        "aggregates",
        "Sums over many runs, as a table or a series.",
        {
            "metrics": _text(
                "by commas: runs, llm_calls, llm_errors, tool_calls, tool_errors, input_tokens, output_tokens,"
                " cached_tokens, cost_usd, llm_ms:p95, ttft_ms:p50, tool_ms:avg, handoffs, warnings"
            ),
            "by": _text(
                "at most two of model, provider, tool, agent, project, service, environment, status, kind, convention"
            ),
            "interval": _text("auto, 1m, 1h, 1d, …; none for one table"),
            "q": Q,
            "since": SINCE,
        },
        (),
        aggregates,
    ),
    Tool(
        "explain_mapping",
        "Why a span was understood as it was: convention, kind, where each field came from.",
        {"run_id": RUN_ID, "span_id": _text("id of the span, 16 hex digits")},
        ("run_id", "span_id"),
        explain_mapping,
    ),
)


# --------------------------------------------------------------------------- small answers


def _given(given: Mapping[str, Any], *names: str) -> dict[str, str | int]:
    return {name: str(given[name]) for name in names if given.get(name) not in (None, "")}


def _limit(given: Mapping[str, Any]) -> int:
    return int(given.get("limit", 10))


def _id(value: Any) -> str:
    return quote(str(value), safe="")


def _more(page: Mapping[str, Any]) -> dict[str, Any]:
    cursor = page["page"]["next_cursor"]
    return {"truncated": cursor is not None, "next_cursor": cursor}


def _line(run: Mapping[str, Any]) -> dict[str, Any]:
    counts, usage = run["counts"], run["usage"]
    return {
        "run_id": run["run_id"],
        "project": run["project"],
        "name": run["name"],
        "status": run["status"],
        "started_at": run["started_at"],
        "duration_ms": run["duration_ms"],
        "models": run["models"],
        "tokens_in": usage["input"],
        "tokens_out": usage["output"],
        "cost_usd": run["cost_usd"],
        "llm_calls": counts["llm_calls"],
        "tool_calls": counts["tool_calls"],
        "errors": counts["llm_errors"] + counts["tool_errors"],
        "warnings": counts["warnings"],
        "top_warning": run["top_warning"],
    }


def _warning(warning: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        *("warning_id", "run_id", "type", "category", "severity", "state", "count", "message", "suggestion"),
        *("onset_event_id", "wasted_tokens", "wasted_cost_usd"),
    )
    return {name: warning[name] for name in names}


def _moment(event: Mapping[str, Any]) -> dict[str, Any]:
    usage = event["usage"] or {}
    found = {
        "event_id": event["event_id"],
        "time": event["time"],
        "type": event["type"],
        "name": event["tool"] or event["model"] or event["name"],
        "agent": event["agent"],
        "ms": event["latency_ms"],
        "tokens_in": usage.get("input"),
        "tokens_out": usage.get("output"),
        "error": event["error"],
        "handoff": event["handoff"],
        "duplicate_of": event["duplicate_of"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _cut(value: Any, most: int) -> Any:
    """Long texts are cut, and say how much is missing."""
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]}… (truncated: {len(value) - most} more characters)"
    if isinstance(value, dict):
        return {name: _cut(part, most) for name, part in value.items()}
    if isinstance(value, list):
        kept = [_cut(part, most) for part in value[:MOST_ROWS]]
        return [*kept, f"… (truncated: {len(value) - MOST_ROWS} more)"] if len(value) > MOST_ROWS else kept
    return value
