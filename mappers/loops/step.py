"""The compact record that the loop detectors see of one event: hashes, sizes and flags, no text."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter


class StepKind(StrEnum):
    TOOL = "tool"
    HANDOFF = "handoff"
    OUTPUT = "output"
    """A model wrote something for a reader."""
    CALL = "call"
    """A model call that wrote nothing for a reader: it asked for tools, failed, or was not captured."""
    USER = "user"
    """Somebody from outside spoke."""


EMPTY_SKETCH: array[int] = array("H")
"""Of what was not captured, or holds no word. Shared; never changed."""


def _no_sketch() -> array[int]:
    return EMPTY_SKETCH


@dataclass(slots=True, eq=False)
class Step:
    """One event. Hashes are 0 where there is nothing to hash. Times in ns.

    `fingerprint` fills the first part, `Recent.judge` the second.
    """

    id: str
    """Span id, and the ordinal of the event in it if it has one: the start of an event id."""
    kind: StepKind
    tool: str = ""
    """A tool's name; of a handoff the agent that receives."""
    agent: str = ""
    start_ns: int = 0
    end_ns: int = 0
    has_args: bool = False
    has_result: bool = False
    """Whether it was captured: what was not is never empty."""
    exact: int = 0
    """Hash of tool and canonical arguments, what changes by itself (ids, times) masked; of a model call the
    hash of its input."""
    shape: int = 0
    """As `exact`, digits masked."""
    args_length: int = 0
    sketch: array[int] = field(default_factory=_no_sketch)
    """Smallest hashes of the words of the arguments, of an output or of an instruction, sorted."""
    outcome: int = 0
    """Hash of the result, or of an output, what changes by itself masked."""
    result_length: int = 0
    units: Sequence[int] = ()
    """Hashes of the information units (lines, parts of long lines) of a result."""
    bare_units: Sequence[int] = ()
    """The same with digits taken out."""
    failed: bool = False
    error: int = 0
    """Hash of the error's text, digits masked."""
    error_class: int = 0
    """As `error`, quoted names masked too."""
    transient: bool = False
    """Failed for a reason that a retry may cure: rate limit, overload, timeout."""
    empty: bool = False
    acknowledges: bool = False
    polls: bool = False
    text: str = ""
    told: str = ""
    """An output, and what the model was told before, until its words are needed."""
    input_hash: int = 0
    """Of a model call: hash of what it was last told."""
    input_sketch: array[int] = field(default_factory=_no_sketch)
    tokens: int | None = None
    input_tokens: int | None = None
    cost_nano_usd: int | None = None
    model: str = ""

    # judged against what came before
    position: int = 0
    progress: int = 0
    """Steps so far that brought something new."""
    repeated: bool = False
    near: bool = False
    stale: bool = False
    """Nothing in it is new."""
    soft: bool = False
    """Next to nothing in it is new."""
    trickle: bool = False
    """Only a small share of its units is new."""
    idle: bool = False
    """Nothing was gained, and it was not waiting."""

    def copy(self) -> Step:
        """The same step for another evaluator: what is judged of it is the evaluator's."""
        return Step(*_values(self))

    @property
    def quiet(self) -> bool:
        return self.failed or self.empty

    @property
    def order(self) -> tuple[int, int, str]:
        """By when its result was known; so a call comes after what happened within it."""
        return self.end_ns or self.start_ns, self.start_ns, self.id


_values = attrgetter(*[one.name for one in fields(Step)])
