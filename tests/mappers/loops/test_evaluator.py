"""A repeat counts only while nothing new is learned."""

from __future__ import annotations

import gc
import random
import sys
from array import array
from collections.abc import Mapping
from typing import Any

import pytest

from mappers.loops.detectors import BUILTIN, LOOP, Hit
from mappers.loops.evaluator import Engine, Evaluator, Finding
from mappers.loops.recent import Recent
from mappers.loops.step import Step, StepKind
from tests.mappers.loops.scenarios import LOOPS, WORDS, WORK, Script


def evaluated(script: Script) -> Evaluator:
    evaluator = Evaluator(Engine())
    evaluator.feed_all(sorted(script.steps, key=lambda step: step.order))
    return evaluator


def loops(evaluator: Evaluator) -> dict[str, Finding]:
    return {
        finding.detector.name: finding
        for finding in evaluator.findings.values()
        if finding.detector.category == LOOP
    }


@pytest.mark.parametrize("name", WORK)
def test_work_stays_silent(name: str) -> None:
    assert loops(evaluated(WORK[name]())) == {}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_found(name: str) -> None:
    detector, build = LOOPS[name]
    assert detector in loops(evaluated(build()))


def test_every_loop_detector_has_a_scenario() -> None:
    assert {detector for detector, _ in LOOPS.values()} == {
        detector.name for detector in BUILTIN if detector.category == LOOP
    }


def test_a_finding_says_where_it_began_and_where_it_held() -> None:
    script = Script()
    script.tool("search", {"q": "lantern"}, script.words(20))
    answer = script.words(20)
    for _ in range(4):
        script.tool("fetch", {"url": "u"}, answer)
    finding = loops(evaluated(script))["exact_repeat"]
    ids = [step.id for step in script.steps]
    assert (finding.first, finding.onset, finding.last) == (ids[1], ids[3], ids[4])
    assert finding.evidence == ids[1:5]
    assert (finding.count, finding.tool) == (4, "fetch")


@pytest.mark.parametrize("rounds", [4, 6, 12, 30])
def test_a_cycle_counts_its_rounds(rounds: int) -> None:
    script = Script()
    answers = [script.words(20) for _ in range(3)]
    for _ in range(rounds):
        for number in range(3):
            script.tool(f"tool_{number}", {"f": number}, answers[number])
    assert loops(evaluated(script))["cycle"].count == rounds


def test_two_of_the_same_are_no_loop() -> None:
    script = Script()
    answer = script.words(20)
    script.tool("fetch", {"url": "u"}, answer).tool("fetch", {"url": "u"}, answer)
    assert loops(evaluated(script)) == {}


def test_something_learned_in_between_begins_the_count_anew() -> None:
    script = Script()
    answer = script.words(20)
    for _ in range(4):
        script.tool("fetch", {"url": "u"}, answer)
        script.tool("search", {"q": script.words(3)}, script.page())
    assert loops(evaluated(script)) == {}


@pytest.mark.parametrize("result", [None, ""])
def test_what_was_not_captured_is_not_empty(result: str | None) -> None:
    script = Script()
    for _ in range(6):
        script.tool("search", {"q": script.words(3)}, result)
    assert ("empty_results" in loops(evaluated(script))) == (result == "")


def test_tools_that_find_nothing_are_told_apart() -> None:
    script = Script()
    for _ in range(5):
        script.tool("search", {"q": script.words(3)}, "No results found")
    for _ in range(4):
        script.tool("lookup", {"q": script.words(3)}, "nothing found")
    evaluator = evaluated(script)
    found = {key: finding for key, finding in evaluator.findings.items() if key[0] == "empty_results"}
    assert {key[1]: (finding.tool, finding.count) for key, finding in found.items()} == {
        "search": ("search", 5),
        "lookup": ("lookup", 4),
    }


def test_waste_leaves_room_for_loops() -> None:
    script = Script()
    for number in range(12):
        script.tool(f"slow_{number}", {"n": number}, script.words(20), takes=90)
        script.time += 100
    answer = script.words(20)
    for _ in range(3):
        script.tool("fetch", {"url": "u"}, answer)
    assert "exact_repeat" in loops(evaluated(script))


def test_failures_without_words_are_failures() -> None:
    script = Script()
    for _ in range(4):
        script.tool("call_api", {"body": script.words(3)}, None, "")
    assert "same_error" in loops(evaluated(script))


def test_a_detector_that_fails_is_counted_and_costs_the_others_nothing() -> None:
    class Broken:
        name = "broken"
        category = LOOP
        kinds = frozenset(StepKind)
        suggestion = ""

        def look(self, step: Step, recent: Recent) -> Hit | None:
            raise RuntimeError("no")

        def describe(self, tool: str, count: int, facts: Mapping[str, str]) -> str:
            return ""

    evaluator = Evaluator(Engine([Broken(), *BUILTIN]))
    script = LOOPS["the_same_call"][1]()
    evaluator.feed_all(script.steps)
    assert evaluator.engine.faults == {"broken": len(script.steps)}
    assert "exact_repeat" in loops(evaluator)


def size(root: Any, ids: list[str]) -> int:
    """Bytes of everything that only the evaluator holds; ids are those of the events that they came from."""
    shared = {id(thing) for thing in (root.engine, *BUILTIN, *StepKind, *ids)}
    seen: set[int] = set()
    total, todo = 0, [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or id(thing) in shared or isinstance(thing, type):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        if not isinstance(thing, (str, int, array)):
            todo += gc.get_referents(thing)
    return total


def test_the_state_of_a_long_run_is_small() -> None:
    script = Script()
    chooser = random.Random(3)
    pages = [script.page(120) for _ in range(12)]
    evaluator = Evaluator(Engine())
    for number in range(600):
        kind = chooser.randrange(5)
        if kind == 0:
            script.hands_to(f"agent {chooser.randrange(5)}", script.words(60))
        elif kind == 1:
            script.says(script.words(80))
        elif kind == 2:
            script.tool(
                f"tool {chooser.randrange(9)}", {"q": script.words(40)}, None, "Error: " + script.words(30)
            )
        else:
            script.tool(f"tool {number % 7}", {"q": chooser.choice(WORDS)}, chooser.choice(pages))
    evaluator.feed_all(script.steps)
    ids = [step.id for step in script.steps]
    assert evaluator.findings
    assert size(evaluator, ids) <= 64 * 1024
