"""Scores the loop detectors on labelled agent runs.

    python -m tests.bench.loops FOLDER [--all] [--misses]

FOLDER holds `labels.json` and one `<corpus>.jsonl.gz` for each corpus: a run a line, `{run_id, corpus, steps}`,
a step `{type: llm|tool|handoff|user, agent, tool, args, result, text, error, tokens, t}`. Runs labelled Y loop,
N do not; B (borderline) is left out. `--all` also says how many of all runs are flagged, `--misses` names what was
missed and what was flagged wrongly.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mappers.loops.detectors import LOOP
from mappers.loops.evaluator import Engine, Evaluator, Finding
from mappers.loops.fingerprint import handoff_step, output_step, tool_step
from mappers.loops.step import Step, StepKind
from mappers.messages.arguments import arguments_of
from mappers.messages.document import compact

SECOND = 10**9
ENGINE = Engine()


def steps_of(run: Mapping[str, Any]) -> Iterator[Step]:
    """The run's steps, fingerprinted as if they had come as events."""
    for number, given in enumerate(run["steps"]):
        start = int(given["t"] * SECOND)
        step = Step(
            f"{number:016x}",
            StepKind.TOOL,
            tool=given["tool"] or "",
            agent=given["agent"] or "",
            start_ns=start,
            end_ns=start + 1,
            tokens=given["tokens"],
        )
        match given["type"]:
            case "tool":
                result = given["result"]
                yield tool_step(
                    step,
                    _text(arguments_of(given["args"])) if given["args"] is not None else None,
                    result if result is None or isinstance(result, str) else _text(result),
                    given["error"] or None,
                )
            case "handoff":
                step.kind = StepKind.HANDOFF
                yield handoff_step(step, _text(given["args"] or given["text"] or ""))
            case "user":
                step.kind = StepKind.USER
                yield step
            case "llm":
                yield output_step(step, given["text"] or "", "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else compact(value).decode()


def loops_of(run: Mapping[str, Any]) -> list[Finding]:
    evaluator = Evaluator(ENGINE)
    evaluator.feed_all(steps_of(run))
    return [finding for finding in evaluator.findings.values() if finding.detector.category == LOOP]


def corpora(folder: Path) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    for file in sorted(folder.glob("*.jsonl.gz")):
        yield file.name.removesuffix(".jsonl.gz"), _runs(file)


def _runs(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                print(f"  {file.name}: a line is no JSON and is left out ({error})")


def score(outcomes: Sequence[tuple[str, bool]]) -> str:
    """`outcomes`: label and whether it was flagged."""
    count = Counter(outcomes)
    hits, misses = count["Y", True], count["Y", False]
    alarms, silent = count["N", True], count["N", False]
    precision = f"{hits / (hits + alarms):.2f}" if hits + alarms else "-"
    recall = f"{hits / (hits + misses):.2f}" if hits + misses else "-"
    return (
        f"precision {precision:>4} recall {recall:>4} ({hits} of {hits + misses} found)"
        f" false alarms {alarms} of {alarms + silent}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--misses", action="store_true")
    options = parser.parse_args()
    labels = {label["run_id"]: label for label in json.loads((options.folder / "labels.json").read_text())}
    everything: list[tuple[str, bool]] = []
    for corpus, runs in corpora(options.folder):
        outcomes: list[tuple[str, bool]] = []
        flagged: dict[str, int] = defaultdict(int)
        seen = steps = 0
        began = time.perf_counter()
        for run in runs:
            label = labels.get(run["run_id"])
            if label is None and not options.all:
                continue
            found = loops_of(run)
            seen += 1
            steps += len(run["steps"])
            flagged["runs"] += bool(found)
            for name in {finding.detector.name for finding in found}:
                flagged[name] += 1
            if label is None:
                continue
            outcomes.append((label["label"], bool(found)))
            if options.misses and (label["label"], bool(found)) in (("Y", False), ("N", True)):
                names = ", ".join(sorted({finding.detector.name for finding in found}))
                print(
                    f"  {run['run_id']}: {label['label']} {label['kind'] or ''} {label['reason']} [{names}]"
                )
        everything += outcomes
        print(f"{corpus:14s} {score(outcomes)}")
        if options.all:
            took = (time.perf_counter() - began) / max(steps, 1)
            share = flagged.pop("runs") / max(seen, 1)
            by = ", ".join(
                f"{name} {count}" for name, count in sorted(flagged.items(), key=lambda item: -item[1])
            )
            print(f"{'':14s} {seen} runs, {share:.1%} flagged, {took * 1e6:.0f} us a step; {by}")
    print(f"{'all':14s} {score(everything)}")


if __name__ == "__main__":
    main()
