"""What a run's latest steps were, and what of a new one is new: the memory that all detectors share.

Its size is bounded whatever the run's length: 30 tool steps, 17 handoffs, 6 outputs, and tables of units that
forget by being overwritten. What is forgotten counts as new again, so forgetting can miss a loop but not
invent one.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from sys import intern

from mappers.loops.fingerprint import TASK_SKETCH, resembles, settle_output
from mappers.loops.step import Step, StepKind

# Looking a member up on its class takes five times as long as a name of the module.
CALL, HANDOFF, OUTPUT, TOOL = StepKind.CALL, StepKind.HANDOFF, StepKind.OUTPUT, StepKind.TOOL

WINDOW = 30
"""Tool steps that are remembered."""
HANDOFFS = 17
OUTPUTS = 6
CALLS = 9
"""Model calls and failures that are remembered."""
SPARSE_RESULT = 5
"""With fewer units a share of them says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Novelty:
    """When a step counts as having brought something new (loops.md §6)."""

    near: float = 0.8
    """Arguments as similar as this are nearly the same."""
    near_depth: int = 4
    """Calls of the tool that are compared."""
    same_task: float = 0.5
    """Instructions as similar as this are the same task."""
    trickle: float = 0.2
    """Share of new units up to which a step brought next to nothing."""
    trickle_of_repeat: float = 0.5
    """The same for a repetition of the very same call."""
    long_result: int = 200
    """Characters from which an answer without a single new unit is stale whatever was asked."""


class _Memory:
    """A table of units: each has one place, which the next unit that falls on it takes."""

    def __init__(self, slots: int) -> None:
        self._tags = array("H", bytes(2 * slots))
        self._mask = slots - 1

    def add(self, units: Sequence[int]) -> int:
        """Number of units that were not there."""
        tags, mask, new = self._tags, self._mask, 0
        for unit in units:
            place = unit & mask
            tag = (unit >> 16) or 1
            if tags[place] != tag:
                tags[place] = tag
                new += 1
        return new


class Recent:
    """The memory of one run. `meet` each step, `judge` it, let the detectors look, then `remember` it."""

    def __init__(self, novelty: Novelty) -> None:
        self.novelty = novelty
        self.tools: deque[Step] = deque(maxlen=WINDOW)
        self.handoffs: deque[Step] = deque(maxlen=HANDOFFS)
        self.outputs: deque[Step] = deque(maxlen=OUTPUTS)
        self.calls: deque[Step] = deque(maxlen=CALLS)
        self._by_tool: dict[str, list[Step]] = {}
        self.of_tool: Sequence[Step] = ()
        """Of the remembered tool steps those of the tool that is looked at."""
        self.of_call: Sequence[Step] = ()
        """Of these the ones with the very same arguments."""
        self.progress = 0
        self.steps = 0
        """Steps fed so far, of every kind."""
        self.position = 0
        """Tool steps so far."""
        self.tokens = 0
        self.tokens_known = 0
        """Model calls whose tokens are known."""
        self.cost_nano_usd = 0
        self.cost_known = 0
        self.began_ns = 0
        self.elapsed_ns = 0
        """From the beginning of the first step to the end of the latest."""
        self.elapsed_before_ns = 0
        """The same before the step that is looked at."""
        self._units = _Memory(4096)
        self._bare_units = _Memory(2048)

    def meet(self, step: Step) -> bool:
        """Looks up what is known of the step's tool and call, which `judge` and the detectors then use.

        False for an echo: the same call at the same time, by which fan-out, a wrapper or a second instrumentation
        tell one call several times. It is not judged.
        """
        if step.kind is not TOOL:
            return True
        self.of_tool = of_tool = self._by_tool.get(step.tool, ())
        exact = step.exact
        self.of_call = [other for other in of_tool if other.exact == exact]
        for other in self.of_call:
            if step.start_ns == other.start_ns or (
                step.start_ns < other.end_ns and step.end_ns > other.start_ns
            ):
                return False
        return True

    def judge(self, step: Step) -> None:
        """Fills what is judged of a step, and counts it."""
        self.steps += 1
        self.spend(step.tokens, step.cost_nano_usd)
        self._pass_time(step)
        if step.kind is TOOL:
            self.position += 1
            step.position = self.position
            self._judge_tool(step)
        elif step.kind is HANDOFF:
            step.near = step.has_args and resembles(
                step.sketch,
                [other.sketch for other in self.handoffs if other.tool == step.tool],
                self.novelty.same_task,
                TASK_SKETCH,
            )
        elif step.kind is OUTPUT and self.outputs:
            for output in (*self.outputs, step):
                settle_output(output)
            if self._is_told_something_new(step):
                self._end_outputs()
        step.progress = self.progress

    def spend(self, tokens: int | None, nano_usd: int | None) -> None:
        """Counts what a model call cost; None: not known."""
        if tokens is not None:
            self.tokens += tokens
            self.tokens_known += 1
        if nano_usd is not None:
            self.cost_nano_usd += nano_usd
            self.cost_known += 1

    def _pass_time(self, step: Step) -> None:
        ended_ns = self.began_ns + self.elapsed_ns
        if self.steps == 1 or step.start_ns < self.began_ns:
            self.began_ns = step.start_ns
        self.elapsed_before_ns = max(0, ended_ns - self.began_ns)
        self.elapsed_ns = max(ended_ns, step.end_ns) - self.began_ns

    def _is_told_something_new(self, step: Step) -> bool:
        """A text that was neither told before nor said by a model just now came from outside: the next of many
        inputs, or a user's turn."""
        if not step.input_hash or any(other.input_hash == step.input_hash for other in self.outputs):
            return False
        known = [sketch for other in self.outputs for sketch in (other.input_sketch, other.sketch)]
        return not resembles(step.input_sketch, known, self.novelty.near)

    def _judge_tool(self, step: Step) -> None:
        novelty = self.novelty
        same_tool, same_call = self.of_tool, self.of_call
        repeated = bool(same_call)
        near = (
            not repeated
            and step.has_args
            and resembles(
                step.sketch,
                [
                    other.sketch
                    for other in same_tool[-novelty.near_depth :]
                    # Of texts whose lengths differ that much the words can not be nearly the same.
                    if step.args_length < 2 * other.args_length and other.args_length < 2 * step.args_length
                ],
                novelty.near,
            )
        )
        same_answer = step.has_result and any(
            other.has_result and other.outcome == step.outcome for other in same_call
        )
        known_error = step.failed and any(other.error == step.error for other in same_tool if other.failed)
        count = len(step.units)
        new = new_bare = 0
        if count and not same_answer:
            new = self._units.add(step.units)
            new_bare = self._bare_units.add(step.bare_units)
        step.repeated, step.near = repeated, near
        again = repeated or near
        step.stale = (
            same_answer
            or known_error
            or bool(
                count
                and not new
                and (again or (step.result_length >= novelty.long_result and not step.acknowledges))
            )
        )
        share = novelty.trickle_of_repeat if repeated and step.has_args else novelty.trickle
        few = count >= SPARSE_RESULT and new <= share * count
        step.trickle = few and new_bare > 0
        step.soft = step.stale or bool(count and (not new_bare or few) and again)
        step.idle = not (step.polls and not step.failed) and (
            step.soft or (step.empty and again) or (step.failed and (known_error or near))
        )
        gained = not (step.soft or step.quiet) if step.has_result else not repeated
        self.progress += gained

    def _end_outputs(self) -> None:
        """The next output is the first of its kind again."""
        if not self.outputs:
            return
        for output in self.outputs:
            output.text = output.told = ""
        self.outputs.clear()

    def remember(self, step: Step) -> None:
        """Keeps the step, without what only judging needed."""
        step.units = step.bare_units = ()
        step.tool, step.agent, step.model = intern(step.tool), intern(step.agent), intern(step.model)
        kind = step.kind
        if kind is TOOL:
            if len(self.tools) == WINDOW:
                self._drop(self.tools[0])
            self.tools.append(step)
            self._by_tool.setdefault(step.tool, []).append(step)
            self._end_outputs()
        elif kind is CALL:
            self.calls.append(step)
        elif kind is OUTPUT:
            self.outputs.append(step)
            self.calls.append(step)
        else:
            if kind is HANDOFF:
                self.handoffs.append(step)
            self._end_outputs()

    def _drop(self, oldest: Step) -> None:
        of_tool = self._by_tool[oldest.tool]
        del of_tool[0]
        if not of_tool:
            del self._by_tool[oldest.tool]
