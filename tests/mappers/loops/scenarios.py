"""Small agents of our own making: work that repeats without being a loop, and loops."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mappers.loops.fingerprint import handoff_step, output_step, tool_step
from mappers.loops.step import Step, StepKind

SECOND = 10**9
_VOCABULARY = """
harbour lantern meadow copper violin orchard glacier pepper saddle thunder velvet window anchor basket candle
dragon engine feather garden hammer island jacket kettle ladder magnet needle oyster pencil quarry ribbon summit
timber umbrella valley walnut zephyr
"""
WORDS = _VOCABULARY.split()


@dataclass
class Script:
    """Steps as they happen, one a second unless they run beside each other."""

    seed: int = 1
    steps: list[Step] = field(default_factory=list)
    time: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def words(self, count: int) -> str:
        return " ".join(f"{self._random.choice(WORDS)}{self._random.randrange(1000)}" for _ in range(count))

    def page(self, lines: int = 8) -> str:
        return "\n".join(self.words(6) for _ in range(lines))

    def tool(
        self,
        name: str,
        arguments: Any,
        result: str | None,
        error: str | None = None,
        *,
        takes: float = 0.5,
        beside: bool = False,
    ) -> Script:
        if not beside:
            self.time += 1
        step = self._step(StepKind.TOOL, takes, tool=name, agent="worker")
        tool_step(step, None if arguments is None else json.dumps(arguments, sort_keys=True), result, error)
        return self

    def says(self, text: str, agent: str = "worker", told: str = "", tokens: int | None = 50) -> Script:
        self.time += 1
        step = self._step(StepKind.OUTPUT, 0.5, agent=agent)
        step.tokens = tokens
        output_step(step, text, told)
        return self

    def hands_to(self, agent: str, instruction: str) -> Script:
        self.time += 1
        handoff_step(self._step(StepKind.HANDOFF, 0.1, tool=agent), instruction)
        return self

    def _step(self, kind: StepKind, takes: float, tool: str = "", agent: str = "") -> Step:
        start = int(self.time * SECOND)
        step = Step(
            f"{len(self.steps) + 1:016x}",
            kind,
            tool=tool,
            agent=agent,
            start_ns=start,
            end_ns=start + int(takes * SECOND),
        )
        self.steps.append(step)
        return step


class Build(Protocol):
    def __call__(self, script: Script | None = None) -> Script: ...


WORK: dict[str, Build] = {}
LOOPS: dict[str, tuple[str, Build]] = {}


def work(build: Callable[[Script], object]) -> Callable[[Script], object]:
    """A script in which nothing goes in circles."""
    WORK[build.__name__] = lambda script=None: _built(build, script)
    return build


def loop(detector: str) -> Callable[[Callable[[Script], object]], Callable[[Script], object]]:
    """A script that loops; `detector` is one that must say so."""

    def add(build: Callable[[Script], object]) -> Callable[[Script], object]:
        LOOPS[build.__name__] = detector, lambda script=None: _built(build, script)
        return build

    return add


def _built(build: Callable[[Script], object], script: Script | None) -> Script:
    script = script or Script()
    build(script)
    return script


# --------------------------------------------------------------------------- work


@work
def pagination_by_page(script: Script) -> None:
    for page in range(20):
        script.says("On to the next page of " + script.words(4)).tool(
            "list_orders", {"page": page}, script.page()
        )


@work
def pagination_without_arguments(script: Script) -> None:
    for _ in range(20):
        script.tool("next_page", {}, script.page())


@work
def reading_a_file_in_pieces(script: Script) -> None:
    for piece in range(20):
        script.tool("read_file", {"path": "/srv/log.txt", "offset": piece * 200}, script.page())


@work
def polling_with_progress(script: Script) -> None:
    for percent in range(0, 90, 6):
        script.tool("get_job_status", {"id": 7}, json.dumps({"status": "running", "progress": percent}))
    script.tool("get_job_status", {"id": 7}, '{"status": "finished"}')


@work
def polling_without_progress(script: Script) -> None:
    for _ in range(12):
        script.tool("get_job_status", {"id": 7}, '{"status": "running"}')
    script.tool("get_job_status", {"id": 7}, '{"status": "finished"}')


@work
def batch_with_short_answers(script: Script) -> None:
    for number in range(40):
        script.tool("update_record", {"id": number, "name": script.words(2)}, "OK")


@work
def batch_with_long_acknowledgements(script: Script) -> None:
    answer = '{"status": "success", "message": "The record was updated in the table of customers of this database"}'
    for number in range(40):
        script.tool("update_record", {"id": number, "name": script.words(2)}, answer)


@work
def looking_up_different_things(script: Script) -> None:
    for number in range(12):
        script.tool("get_order", {"order": f"W{number * 7919}"}, json.dumps({"order": script.words(20)}))


@work
def parallel_fan_out(script: Script) -> None:
    script.says("Searching in several places")
    for number in range(10):
        script.tool("search", {"q": script.words(4)}, script.words(40), takes=3, beside=number > 0)


@work
def one_query_fanned_out(script: Script) -> None:
    answer = script.page()
    for number in range(5):
        script.tool("search", {"q": "lantern"}, answer, takes=3, beside=number > 0)


@work
def three_instrumentations(script: Script) -> None:
    for _ in range(6):
        query, answer = {"q": script.words(4)}, script.words(30)
        script.tool("search", query, answer)
        script.tool("search", query, answer, takes=0.4, beside=True)
        script.tool("search", query, answer, takes=0.3, beside=True)


@work
def supervisor_with_one_worker(script: Script) -> None:
    for _ in range(6):
        script.hands_to("researcher", "look into " + script.words(6))
        script.tool("search", {"q": script.words(4)}, script.words(30))
        script.hands_to("supervisor", "this is what I found: " + script.words(6))


@work
def supervisor_with_two_workers(script: Script) -> None:
    for _ in range(5):
        script.hands_to("researcher", "look into " + script.words(6))
        script.tool("search", {"q": script.words(4)}, script.words(30))
        script.hands_to("writer", "write about " + script.words(6))
        script.says(script.words(30), "writer")


@work
def tests_that_get_better(script: Script) -> None:
    for failing in range(8, 0, -1):
        script.tool("edit_file", {"path": "/a.py", "old": script.words(6), "new": script.words(6)}, "edited")
        failures = [f"FAILED test_{number} - {script.words(3)}" for number in range(failing)]
        script.tool("run_tests", {}, "\n".join([*failures, f"{failing} failed, {8 - failing} passed"]))


@work
def five_different_repairs(script: Script) -> None:
    for number in range(5):
        script.tool(
            "edit_file", {"old": script.words(6), "new": script.words(6)}, "edited " + script.words(3)
        )
        script.tool("run_tests", {}, f"FAILED test_{number} - {script.words(8)}\n1 failed")


@work
def looking_after_each_write(script: Script) -> None:
    for number in range(5):
        script.tool("write_file", {"path": f"/f{number}", "content": script.words(20)}, "ok")
        listing = "\n".join(f" M f{other}" for other in range(number + 1))
        script.tool("shell", {"command": "git status --short"}, listing)


@work
def a_draft_that_goes_to_and_fro(script: Script) -> None:
    for _ in range(5):
        script.hands_to("critic", "this is the draft: " + script.words(40))
        script.hands_to("writer", "this should be better: " + script.words(20))


@work
def summaries_of_many_chunks(script: Script) -> None:
    for number in range(40):
        script.says(f"Summary of chunk {number}: {script.words(30)}")


@work
def same_label_for_many_texts(script: Script) -> None:
    for _ in range(12):
        script.says('{"label": "complaint", "language": "en"}', told=script.words(20))


@work
def two_retries_then_an_answer(script: Script) -> None:
    script.tool("http_get", {"url": "/x"}, None, "429 Too Many Requests")
    script.tool("http_get", {"url": "/x"}, None, "429 Too Many Requests")
    script.tool("http_get", {"url": "/x"}, script.words(30))


@work
def chat_over_documents(script: Script) -> None:
    for _ in range(8):
        script.tool("retrieve", {"q": script.words(5)}, script.words(40)).says(script.words(30))


@work
def filling_in_a_form(script: Script) -> None:
    names = "abcdefgh"
    for index, name in enumerate(names):
        filled = "\n".join(f"{other}: {'done' if names.index(other) <= index else ''}" for other in names)
        script.tool("browser_type", {"field": name, "text": script.words(2)}, "page\n" + filled)


@work
def one_answer_for_each_of_many_items(script: Script) -> None:
    for number in range(10):
        answer = (
            '{"in_stock": false, "warehouse": "north", "restock_date": null, "colour": "none in particular"}'
        )
        script.tool("check_stock", {"sku": f"S{number * 31}"}, answer)


@work
def a_list_of_tasks_that_is_kept(script: Script) -> None:
    tasks = [script.words(3) for _ in range(8)]
    for done in range(8):
        written = [{"task": task, "done": number < done} for number, task in enumerate(tasks)]
        answer = "The list has been updated successfully. Keep using it and go on with the current task."
        script.tool("write_tasks", {"tasks": written}, answer)


@work
def fields_that_are_filled_in(script: Script) -> None:
    for number in range(8):
        answer = "The text was typed into the field; nothing else on this page has changed since then."
        script.tool("browser_type", {"field": number, "text": script.words(1)}, answer)


@work
def directories_that_are_walked(script: Script) -> None:
    for _ in range(10):
        script.tool("shell", {"command": "ls -a"}, ".\n..\n" + script.page(4))


@work
def many_calls_without_content(script: Script) -> None:
    for _ in range(30):
        script.tool("search", None, None)


# --------------------------------------------------------------------------- loops


@loop("exact_repeat")
def the_same_call(script: Script) -> None:
    script.tool("search", {"q": "lantern"}, script.words(20))
    answer = script.words(20)
    for _ in range(4):
        script.tool("fetch", {"url": "u"}, answer)


@loop("exact_repeat")
def the_same_call_without_captured_results(script: Script) -> None:
    for _ in range(6):
        script.tool("fetch", {"url": "u"}, None)


@loop("cycle")
def two_steps_in_turn(script: Script) -> None:
    one, other = script.words(20), script.words(20)
    for _ in range(4):
        script.tool("read", {"f": "a"}, one).tool("read", {"f": "b"}, other)


@loop("cycle")
def three_steps_in_turn(script: Script) -> None:
    answers = [script.words(20) for _ in range(3)]
    for _ in range(4):
        for number in range(3):
            script.tool(f"tool_{number}", {"f": number}, answers[number])


@loop("cycle")
def numbers_that_drift(script: Script) -> None:
    lines = [f"line{number} of the file" for number in range(20)]
    for number in range(8):
        script.tool("delete_line", {"n": 70 - number}, "file\n" + "\n".join(lines))
        block = {"n": 70 - number, "text": "the same block of text here"}
        script.tool("insert", block, "file\n" + "\n".join([*lines, "line20 of the file"]))


@loop("same_error")
def reworded_calls_same_error(script: Script) -> None:
    for _ in range(6):
        script.tool(
            "sql", {"q": "SELECT " + script.words(5)}, "Error executing query: Table 'x.pupils' doesn't exist"
        )


@loop("empty_results")
def reworded_calls_nothing_found(script: Script) -> None:
    for _ in range(6):
        script.tool("search", {"q": script.words(3)}, f'No results found for "{script.words(2)}"')


@loop("same_result")
def reworded_calls_same_answer(script: Script) -> None:
    answer = script.words(30)
    for _ in range(4):
        script.tool("ask_library", {"q": script.words(6)}, answer)


@loop("near_repeat")
def trifling_variations(script: Script) -> None:
    query = script.words(14)
    answer = script.page(4)
    for number in range(6):
        script.tool("search", {"q": f"{query} please{number}"}, f"attempt {number}\n{answer}")


@loop("error_streak")
def one_failure_after_the_other(script: Script) -> None:
    for number in range(7):
        script.tool(f"tool_{number % 4}", {"x": script.words(3)}, None, "ValueError: " + script.words(5))


@loop("no_progress")
def busy_without_gain(script: Script) -> None:
    order = (0, 1, 2, 1, 3, 0, 2, 3, 1, 0, 3, 2, 0, 1, 3, 1, 2, 0)
    answers = [script.page(6) for _ in range(4)]
    for number in order:
        script.tool("open_page", {"page": WORDS[number]}, answers[number])


@loop("handoff_loop")
def a_task_nobody_takes(script: Script) -> None:
    for _ in range(5):
        script.hands_to("researcher", "please find the revenue of the harbour company for 2023")
        script.hands_to("writer", "I can not do this, find the revenue of the harbour company yourself")


@loop("handoff_loop")
def a_bounce_without_words(script: Script) -> None:
    for _ in range(4):
        script.hands_to("billing", "").hands_to("support", "")


@loop("repeated_output")
def a_chant(script: Script) -> None:
    for _ in range(5):
        script.says("I am sorry for the confusion. Let me try again to do the task as you asked me to.")


@loop("same_error")
def a_storm_of_retries(script: Script) -> None:
    for _ in range(6):
        script.tool("http_get", {"url": "/x"}, None, "503 Service Unavailable")


@loop("same_error")
def numbers_in_the_error_change(script: Script) -> None:
    for number in range(5):
        error = f'ValidationError: field "date" is required (request {number * 7919})'
        script.tool("call_api", {"body": script.words(6)}, None, error)


@loop("exact_repeat")
def ids_in_the_arguments_change(script: Script) -> None:
    answer = script.words(20)
    for number in range(6):
        request = f"{number:08x}-0000-4000-8000-{number * 7919:012x}"
        script.tool("search", {"q": "same thing", "request_id": request}, answer)


@loop("exact_repeat")
def a_file_that_only_grows(script: Script) -> None:
    block = "def added(): return 1  # the very same block is put in again and again by the agent"
    lines = [f"base {number}" for number in range(20)]
    for _ in range(8):
        lines.insert(5, block)
        listing = "\n".join(f"{number}:{line}" for number, line in enumerate(lines))
        script.tool("insert", {"line": 5, "text": block}, f"[File x ({len(lines)} lines)]\n{listing}")


@loop("exact_repeat")
def polling_that_never_ends(script: Script) -> None:
    for _ in range(25):
        script.tool("get_job_status", {"id": 7}, '{"status": "running"}')


@loop("same_error")
def edits_without_effect(script: Script) -> None:
    failures = [f"FAILED test_{number} - AssertionError: {script.words(4)}" for number in range(3)]
    for number in range(6):
        script.tool("edit", {"old": script.words(5), "new": script.words(5)}, "The file was edited.")
        script.tool("run_tests", {}, "\n".join([*failures, f"3 failed in 0.4{number}s"]))


@loop("exact_repeat")
def a_page_with_a_clock(script: Script) -> None:
    page = [script.words(5) for _ in range(40)]
    for number in range(7):
        shown = "\n".join([f"It is 12:{number:02}:13", script.words(3), *page])
        script.tool("click", {"element": "submit"}, shown)


@loop("cycle")
def scrolling_to_and_fro(script: Script) -> None:
    top, bottom = script.page(20), script.page(20)
    for _ in range(5):
        script.tool("scroll", {"to": "bottom"}, bottom).tool("scroll", {"to": "top"}, top)


@loop("handoff_loop")
def three_agents_in_turn(script: Script) -> None:
    for _ in range(4):
        for agent in ("planner", "researcher", "writer"):
            script.hands_to(agent, "please find the revenue of the harbour company for 2023")


@loop("repeated_output")
def the_same_question_whatever_is_answered(script: Script) -> None:
    for _ in range(5):
        script.says(
            "Could you please say which revenue of the harbour company you mean?", told="yes, please do"
        )


@loop("same_error")
def the_same_mistake_in_other_code(script: Script) -> None:
    for number in range(6):
        trace = f'Traceback (most recent call last):\n  File "<stdin>", line {number + 2}, in <module>\n'
        script.tool("python", {"code": script.words(20)}, trace + "NameError: name 'harbour' is not defined")
