"""`eddyline runs diff`: two runs side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from collector.commands.client import Client
from collector.commands.failing import FINDING
from collector.commands.options import asking
from collector.commands.output import duration, write_json
from collector.commands.run_ids import whole_id
from mappers.dollars import dollars


@click.command()
@click.argument("a", metavar="RUN")
@click.argument("b", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="The whole comparison as one document.")
@click.option("--all", "everything", is_flag=True, help="Steps that are alike, too.")
@click.option("--exit-code", is_flag=True, help=f"Exit {FINDING} if their steps differ.")
@asking
def diff(a: str, b: str, as_json: bool, everything: bool, exit_code: bool, client: Client) -> None:
    """Show what is different in the second run against the first: numbers, prompts, tools, warnings, and the
    first step that differs."""
    found = client.get("/compare", {"a": whole_id(client, a), "b": whole_id(client, b)})
    if as_json or not sys.stdout.isatty():
        write_json(found)
    else:
        for line in lines(found, everything=everything):
            click.echo(line)
    if exit_code and found["steps"]["first_divergence"] is not None:
        sys.exit(FINDING)


def lines(found: dict[str, Any], *, everything: bool) -> Iterator[str]:
    """A comparison for people."""
    for side in ("a", "b"):
        run = found[side]
        yield f"{side}  {run['run_id']}  {run['name']}  {run['status']}  {run['started_at']}"
    for name, change in found["delta"].items():
        if change:
            yield f"   {name:<24} {_change(name, change)}"
    for title, names in (
        ("agents", found["agents"]),
        ("tools", found["tools"]),
        ("offered tools", found["offered_tools"]),
        ("warnings", found["warnings"]),
    ):
        told = [f"- {name}" for name in names["only_a"]] + [f"+ {name}" for name in names["only_b"]]
        if told:
            yield f"   {title:<24} {', '.join(told)}"
    for role, text in (found["prompt_diff"] or {}).items():
        yield f"   prompt of {role}:"
        yield from (f"      {line}" for line in text.splitlines()[2:])
    if found["patch_omitted"]:
        yield f"   prompts too different to be shown: {', '.join(found['patch_omitted'])}"
    steps = found["steps"]
    yield f"   {steps['paired']} steps side by side, {steps['alike']} alike"
    first = steps["first_divergence"]
    for place, pair in enumerate(steps["pairs"]):
        is_first = first is not None and place == first["at"]
        if everything or pair["differs"]:
            mark, differs = ">" if is_first else " ", ", ".join(pair["differs"])
            yield f" {mark} {_step(pair['a']):<36} {_step(pair['b']):<36} {differs}"
            if is_first:
                yield from (f"      {_told(change)}" for change in first["diff"] or ())
    if steps["truncated"]:
        yield "   … more steps: --json, or the page"


def _change(name: str, change: float) -> str:
    sign = "+" if change > 0 else "-"
    if name.endswith("_ms"):
        return sign + duration(abs(change))
    return sign + (dollars(abs(change)) if name.endswith("_usd") else f"{abs(change):g}")


def _step(step: dict[str, Any] | None) -> str:
    return "" if step is None else f"{step['kind'].lower()} {step['name']}"


def _told(change: dict[str, Any]) -> str:
    sides = {side: json.dumps(change.get(side), ensure_ascii=False) for side in ("a", "b")}
    return f"{change['op']} {change['path'] or '/'}: {sides['a']} → {sides['b']}"
