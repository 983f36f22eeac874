"""From the texts of a step to its fingerprint (loops.md §6). Hashes are the same in every process."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar
from zlib import crc32

from mappers.loops.signs import EXCEPTION_AT_END, Sign, polls, signs_of
from mappers.loops.step import EMPTY_SKETCH, Step, StepKind
from mappers.messages.document import hash64

SKETCH = 32
"""Hashes kept of the words of arguments and outputs."""
TASK_SKETCH = 48
"""Of the words of a task that is handed over: few of them are shared, so more are needed to tell how many."""
MAX_UNITS = 256
MAX_TEXT = 8_000
"""Characters of a result that are looked at: most from its head, the rest from its end."""
TAIL = 2_000
LONG_LINE = 160
"""A longer line is several units."""
ERROR_LENGTH = 300
ERROR_CLASS_LENGTH = 160
HEAD = 80
"""Characters that are compared before the whole is."""
LEAD = 4 * HEAD
"""Characters that have so many but for space, mostly. A line's end that is cut in two here lies beyond these."""
REMEMBERED = 4_096
"""Texts of which it is remembered what they say."""
SHORT = 1_500
"""Characters up to which it is."""

_IDS = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{32,64}\b"
)
_HEX_RUN = re.compile(r"[0-9a-f]{32}")
_TIMES = re.compile(
    r"\d(?<!\d\d)\d*+(?:-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|x[0-9a-fA-F]{6,}\b"
    r"|(?:\.\d++)?\s?(?:ms|us|seconds?|secs?)\b)"
)
"""Points in time, addresses, durations. Begins with a digit, which the regex engine skips to quickly; it must be the
first of its run, and none is given back, or a long number would take time by the square of its length."""
_DIGITS = re.compile(r"\d+")
_MASKS = re.compile(r"[\d~#]")
"""What is masked begins with one of these or with hexadecimal letters, or is one of these when masked."""
_ID_LETTERS = "abcdefABCDEF-"
_QUOTED = re.compile(r"'[^'\n]{1,120}'|\"[^\"\n]{1,120}\"|`[^`\n]{1,120}`|\[[^\]\n]{1,120}\]")
_LINE_NUMBER = re.compile(r"^\s*\d+[:|\t]\s?")
_CLAUSE = re.compile(r"[,;]\s|\.\s")
_WORD = re.compile(r"[^\W\d]{2,}|\d+")
_ASCII_WORD = re.compile(rb"[a-z_]{2,}|[0-9]+")
"""The same in lower case."""
_ASCII_DIGITS = b"0123456789"

TRANSIENT = re.compile(
    r"\b(?:429|50[0234]|529)\b|rate.?limit|too many requests|overloaded|time[d ]?.?out"
    r"|unavailable|connection (?:reset|refused)",
    re.IGNORECASE,
)
"""Errors that a retry may cure."""


def words(text: str, size: int = SKETCH) -> array[int]:
    """A bottom-k sketch of the words of a text's first 4,000 characters."""
    text = text[:4_000].lower()
    if text.isascii():
        found = {crc32(word) & 0xFFFF for word in _ASCII_WORD.findall(text.encode())}
    else:
        found = {crc32(word.encode(errors="replace")) & 0xFFFF for word in _WORD.findall(text)}
    return array("H", sorted(found)[:size]) if found else EMPTY_SKETCH


def similarity(one: array[int], other: array[int], size: int = SKETCH) -> float:
    """Share of words that two texts have in common (an estimate of the Jaccard index), 0 to 1."""
    if not one or not other:
        return 0.0
    if one == other:
        return 1.0
    common = set(one).intersection(other)
    if len(one) < size and len(other) < size:
        return len(common) / (len(one) + len(other) - len(common))
    smallest = sorted(set(one).union(other))[:size]
    return sum(word in common for word in smallest) / len(smallest)


def resembles(one: array[int], others: Iterable[array[int]], least: float, size: int = SKETCH) -> bool:
    """Whether the similarity to any of the others is that high. Most are far from it, which is seen early."""
    if not one:
        return False
    first = set(one)
    for other in others:
        if one == other:
            return True
        common = len(first.intersection(other))
        # At best all that they have in common is among the smallest of both.
        most = common / min(size, len(one) + len(other) - common)
        if most >= least and similarity(one, other, size) >= least:
            return True
    return False


def units(text: str) -> tuple[Sequence[int], Sequence[int]]:
    """Hashes of the information units of a result: as they are, and without their digits."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - TAIL] + "\n" + text[-TAIL:]
    found: list[bytes] = []
    for line in text.split("\n"):
        for part in (line,) if len(line) <= LONG_LINE else _CLAUSE.split(line):
            unit = part.strip()
            if unit[:1].isdecimal():
                unit = _LINE_NUMBER.sub("", part).strip()
            if len(unit) >= 3:
                found.append(unit.encode(errors="replace"))
        if len(found) >= MAX_UNITS:
            del found[MAX_UNITS:]
            break
    return (
        array("I", map(crc32, found)),
        array("I", [crc32(unit.translate(None, _ASCII_DIGITS)) for unit in found]),
    )


def _hash(text: str) -> int:
    """60 bits, which Python keeps in less memory than 64."""
    return hash64(text.encode(errors="replace")) >> 4 or 1


def _masked(text: str) -> str:
    """The text without what changes by itself: ids, points in time, durations, addresses. All have digits."""
    if _DIGITS.search(text) is None:
        return text
    if text.count("-") >= 4 or _HEX_RUN.search(text):
        text = _IDS.sub("~", text)
    return _TIMES.sub("~", text)


def _squeezed(text: str) -> str:
    """With one space wherever there is space, and none around. A regular expression takes ten times as long."""
    return " ".join(text.split())


def _without_space(text: str) -> str:
    return "".join(text.replace("\\n", " ").split())


def head_of(text: str) -> str | None:
    """What a text begins with, up to where something may be masked: equal for texts that are, once what changes by
    itself and digits are masked and space is squeezed. None if that can not be told."""
    head = _without_space(text[:LEAD])
    if len(head) <= HEAD and len(text) > LEAD:
        head = _without_space(text)
    head = head[:HEAD]
    mask = _MASKS.search(head)
    if mask is not None:
        head = head[: mask.start()]
    # An id may begin with letters, or be of letters and dashes alone.
    return head.rstrip(_ID_LETTERS) if head.count("-") < 4 else None


class Arguments(NamedTuple):
    """What the arguments of a call say."""

    known: bool
    """Whether there are any."""
    exact: int
    shape: int
    length: int
    sketch: array[int]


class Result(NamedTuple):
    """What the answer of a call says."""

    outcome: int
    length: int
    units: Sequence[int]
    bare_units: Sequence[int]


R = TypeVar("R")

# Names of the module are found in a fifth of the time that a member takes on its class.
ACKNOWLEDGES, EMPTY, FAILED = Sign.ACKNOWLEDGES, Sign.EMPTY, Sign.FAILED


def _remembered(function: Callable[..., R]) -> Callable[..., R]:
    """Keeps what a function made of the last short texts: what loops is read again and again, and what belongs to a
    session is read twice."""
    known = lru_cache(maxsize=REMEMBERED)(function)

    def read(*texts: str) -> R:
        return known(*texts) if len(texts[-1]) <= SHORT else function(*texts)

    return read


@_remembered
def arguments_of(tool: str, arguments: str) -> Arguments:
    """`arguments`: canonical JSON, or the text as it was passed."""
    squeezed = _squeezed(_masked(arguments).replace("\\n", " "))
    exact = _hash(f"{tool}\0{squeezed}")
    bare = _DIGITS.sub("#", squeezed)
    return Arguments(
        bool(squeezed) and squeezed not in ("{}", "null", "[]"),
        exact,
        exact if bare == squeezed else _hash(f"{tool}\0{bare}"),
        len(squeezed),
        words(squeezed),
    )


@_remembered
def result_of(result: str) -> Result:
    text = _masked(result)
    stripped = text.strip()
    return Result(_hash(stripped), len(stripped), *units(text))


@_remembered
def outcome_of(result: str) -> int:
    """`Result.outcome` alone."""
    return _hash(_masked(result).strip())


def tell_arguments(step: Step, arguments: str) -> None:
    """Fills what the arguments say."""
    step.has_args, step.exact, step.shape, step.args_length, step.sketch = arguments_of(step.tool, arguments)
    step.polls = polls(step.tool)


def tell_result(step: Step, result: str | None, error: str | None, signs: int | None = None) -> None:
    """Fills what the result says.

    Args:
        result: its text; None if it was not captured.
        error: what the span says went wrong, "" if it failed without words; None if it did not fail.
        signs: of the result, where they are known; see `Sign`.
    """
    step.has_result = result is not None or error is not None
    if signs is None:
        signs = signs_of(step.tool, result)
    if error is None and result is not None and signs & FAILED:
        error = result
    if error is not None:
        text = _masked(result or "").strip()
        step.result_length, step.outcome = len(text), _hash(text)
        _tell_error(step, _masked(error).strip() or text)
    elif result is not None:
        step.outcome, step.result_length, step.units, step.bare_units = result_of(result)
        step.empty = signs & EMPTY != 0
        step.acknowledges = signs & ACKNOWLEDGES != 0


def _tell_error(step: Step, error: str) -> None:
    step.failed = True
    step.transient = TRANSIENT.search(error[:ERROR_LENGTH]) is not None
    last = EXCEPTION_AT_END.search(error[-400:]) if "Traceback" in error else None
    shown = last[0] if last else error[:ERROR_LENGTH]
    signature = _squeezed(_DIGITS.sub("#", shown)).lower()
    step.error = _hash(signature)
    step.error_class = _hash(_QUOTED.sub("'_'", signature)[:ERROR_CLASS_LENGTH])


def tool_step(
    step: Step, arguments: str | None, result: str | None, error: str | None, signs: int | None = None
) -> Step:
    """A finished fingerprint of a tool's step; see `tell_arguments` and `tell_result`."""
    tell_arguments(step, arguments or "")
    tell_result(step, result, error, signs)
    return step


def handoff_step(step: Step, instruction: str) -> Step:
    """A finished fingerprint of a handoff: who is told what."""
    step.sketch = words(instruction, TASK_SKETCH)
    step.args_length = len(instruction)
    step.has_args = bool(instruction.strip())
    step.exact = _hash(f"{step.tool}\0{_squeezed(_masked(instruction))}")
    return step


MIN_OUTPUT = 20
"""Shorter outputs ("yes", "42") repeat without meaning anything by it."""


def output_step(step: Step, output: str, told: str, whole_hash: int = 0) -> Step:
    """A fingerprint of what a model wrote; its words are only looked at once another output follows (`settle`).

    Args:
        output: the text, or its beginning.
        told: the last thing that it was told, or its beginning; "" if that was not captured.
        whole_hash: hash of the whole text, where `output` is only its beginning.
    """
    step.result_length = len(output)
    step.has_result = len(output) > 0
    step.kind = StepKind.OUTPUT if len(output) >= MIN_OUTPUT else StepKind.CALL
    step.outcome = whole_hash
    step.text, step.told = output, told
    return step


@_remembered
def words_of_output(output: str) -> array[int]:
    return words(_plain(output))


def _plain(output: str) -> str:
    return _squeezed(_masked(output))


def settle_output(step: Step) -> None:
    """Finishes the fingerprint of an output."""
    if step.text:
        step.outcome = step.outcome or _hash(_plain(step.text))
        step.sketch = words_of_output(step.text)
        if step.told:
            step.input_hash = _hash(_squeezed(step.told)[:400])
            step.input_sketch = words(step.told)
        step.text = step.told = ""
