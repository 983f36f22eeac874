"""From the texts of a step to its fingerprint (loops.md §6). Hashes are the same in every process."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from zlib import crc32

from mappers.loops.step import EMPTY_SKETCH, Step, StepKind
from mappers.messages.document import hash64, remembered

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
_SPACE = re.compile(r"\s+")
_QUOTED = re.compile(r"'[^'\n]{1,120}'|\"[^\"\n]{1,120}\"|`[^`\n]{1,120}`|\[[^\]\n]{1,120}\]")
_LINE_NUMBER = re.compile(r"^\s*\d+[:|\t]\s?")
_CLAUSE = re.compile(r"[,;]\s|\.\s")
_WORD = re.compile(r"[^\W\d]{2,}|\d+")
_DELETE_DIGITS = str.maketrans("", "", "0123456789")

_FAILURE = re.compile(
    r"^\W{0,3}(?:\S{0,40}:\s*){0,3}(?:error|exception|traceback|fatal|usage:|failed|failure|unhandled)"
    r"(?!s?\"?\s*[:=]\s*(?:null|none|false|\"\"|\[\]|\{\}|0\b))"
    r"|\berror executing\b|command not found|no such file or directory|\bsyntax error|not recogni[sz]ed"
    r"|execution timed out|timed out after|exit ?code:? [1-9]|exited with (?:code|status) [1-9]"
    r"|permission denied|connection refused|unknown (?:language|command|tool|option)"
    r"|\"error\":(?!\s*(?:null|none|false|\"\"|\[\]|\{\}|0\b))"
    r"|unexpected eof|cannot access|too many requests|rate limit(?:ed)? exceeded"
    r"|\b(?:was|were|is) not a valid|\bis not a valid|no (?:sql )?code (?:block )?(?:was )?(?:found|detected)"
    r"|encountered an error|\bnot found$|^(?:file|directory) \S+ not found",
)
"""In lower case."""
_FAILURE_HINTS = (
    "err", "exception", "traceback", "fatal", "usage:", "fail", "unhandled", "not found", "no such", "not recogni",
    "timed out", "exit", "denied", "refused", "unknown ", "eof", "cannot access", "too many", "rate limit",
    "not a valid", "no sql", "no code",
)  # fmt: skip
"""One of them is in everything that `_FAILURE` finds, and looking for them costs a tenth."""
_EXCEPTION_AT_END = re.compile(r"(?:^|\n)\s*[A-Za-z_.]{0,60}(?:Error|Exception)\b[^\n]*\s*$")
_EMPTY = re.compile(
    r"^\W*(?:no (?:\w+ ){0,2}(?:results?|match(?:es)?|documents?|records?|data|files?|rows?|entries|items)\b"
    r"|could not find|nothing (?:was )?found|0 (?:results?|match)|not found|none\W*$|null\W*$"
    r"|\[\s*\]\W*$|\{\s*\}\W*$)",
    re.IGNORECASE,
)
_NONE_LISTED = re.compile(
    r"^\W*.{0,60}\"?(?:results?|items|documents|matches|hits|rows)\"?:\s*(?:\[\s*\]|no results|\"\")",
    re.IGNORECASE | re.DOTALL,
)
"""Has a colon, which is looked for before."""
_ACKNOWLEDGES = re.compile(
    r"\b(?:ok|success|successful|successfully|updated|created|saved|written|done|sent|deleted|added|completed|accepted)\b"
)
_ASKS = re.compile(
    r"search|find|query|lookup|look_up|get|list|retriev|fetch|read|select|grep|scan|browse|sql", re.IGNORECASE
)
_POLLS = re.compile(r"status|poll|wait|progress|health|sleep|heartbeat|job", re.IGNORECASE)
TRANSIENT = re.compile(
    r"\b(?:429|50[0234]|529)\b|rate.?limit|too many requests|overloaded|time[d ]?.?out"
    r"|unavailable|connection (?:reset|refused)",
    re.IGNORECASE,
)
"""Errors that a retry may cure."""


def words(text: str, size: int = SKETCH) -> array[int]:
    """A bottom-k sketch of the words of a text's first 4,000 characters."""
    found = {crc32(word.encode(errors="replace")) & 0xFFFF for word in _WORD.findall(text[:4_000].lower())}
    return array("H", sorted(found)[:size]) if found else EMPTY_SKETCH


def similarity(one: array[int], other: array[int], size: int = SKETCH) -> float:
    """Share of words that two texts have in common (an estimate of the Jaccard index), 0 to 1."""
    if not one or not other:
        return 0.0
    if one == other:
        return 1.0
    first = set(one)
    common = first.intersection(other)
    if not common:
        return 0.0
    second = set(other)
    if len(one) < size and len(other) < size:
        return len(common) / len(first | second)
    smallest = sorted(first | second)[:size]
    return sum(word in common for word in smallest) / len(smallest)


def units(text: str) -> tuple[Sequence[int], Sequence[int]]:
    """Hashes of the information units of a result: as they are, and without their digits."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - TAIL] + "\n" + text[-TAIL:]
    found: list[str] = []
    for line in text.split("\n"):
        for part in (line,) if len(line) <= LONG_LINE else _CLAUSE.split(line):
            part = _LINE_NUMBER.sub("", part).strip()
            if len(part) >= 3:
                found.append(part)
        if len(found) >= MAX_UNITS:
            del found[MAX_UNITS:]
            break
    return (
        array("I", [crc32(part.encode(errors="replace")) for part in found]),
        array("I", [crc32(part.translate(_DELETE_DIGITS).encode(errors="replace")) for part in found]),
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


def tell_arguments(step: Step, arguments: str) -> None:
    """Fills what the arguments say. `arguments`: canonical JSON, or the text as it was passed."""
    squeezed = _SPACE.sub(" ", _masked(arguments).replace("\\n", " ")).strip()
    step.has_args = bool(squeezed) and squeezed not in ("{}", "null", "[]")
    step.args_length = len(squeezed)
    step.exact = _hash(f"{step.tool}\0{squeezed}")
    step.shape = _hash(f"{step.tool}\0{_DIGITS.sub('#', squeezed)}")
    step.sketch = words(squeezed)
    step.polls = polls(step.tool)


def tell_result(step: Step, result: str | None, error: str | None) -> None:
    """Fills what the result says.

    Args:
        result: its text; None if it was not captured.
        error: what the span says went wrong, "" if it failed without words; None if it did not fail.
    """
    step.has_result = result is not None or error is not None
    text = _masked(result or "")
    stripped = text.strip()
    step.result_length = len(stripped)
    step.outcome = _hash(stripped)
    if error is None and stripped and looks_failed(stripped):
        error = stripped
    if error is not None:
        _tell_error(step, _masked(error or stripped).strip())
    elif not stripped:
        step.empty = step.has_result and asks(step.tool)
    else:
        step.empty = looks_empty(stripped)
        step.acknowledges = acknowledges(stripped)
        step.units, step.bare_units = units(text)


@remembered(4_096)
def asks(tool: str) -> bool:
    """Whether a tool by its name looks something up, so that a blank answer of it means that nothing was found."""
    return _ASKS.search(tool) is not None


@remembered(4_096)
def polls(tool: str) -> bool:
    """Whether a tool by its name is one that is asked again on purpose."""
    return _POLLS.search(tool) is not None


def looks_empty(text: str) -> bool:
    """Whether a short answer, stripped, says at its head that nothing was found."""
    if len(text) >= 400:
        return False
    head = text[:300]
    return _EMPTY.match(head) is not None or (":" in head and _NONE_LISTED.match(head) is not None)


def acknowledges(text: str) -> bool:
    """Whether a short answer, stripped, says that something was done."""
    return len(text) < 300 and _ACKNOWLEDGES.search(text.lower()) is not None


def looks_failed(text: str) -> bool:
    """Whether an answer, stripped, is an error in words, at its head or in its last line: most tools of agents do
    not raise."""
    head = text[:200].lower()
    if any(map(head.__contains__, _FAILURE_HINTS)) and _FAILURE.search(head):
        return True
    if len(text) >= 6_000:
        return False
    tail = text[-400:]
    return ("Error" in tail or "Exception" in tail) and _EXCEPTION_AT_END.search(tail) is not None


def _tell_error(step: Step, error: str) -> None:
    step.failed = True
    step.transient = TRANSIENT.search(error[:ERROR_LENGTH]) is not None
    last = _EXCEPTION_AT_END.search(error[-400:]) if "Traceback" in error else None
    shown = last[0] if last else error[:ERROR_LENGTH]
    signature = _SPACE.sub(" ", _DIGITS.sub("#", shown)).strip().lower()
    step.error = _hash(signature)
    step.error_class = _hash(_QUOTED.sub("'_'", signature)[:ERROR_CLASS_LENGTH])


def tool_step(step: Step, arguments: str | None, result: str | None, error: str | None) -> Step:
    """A finished fingerprint of a tool's step."""
    tell_arguments(step, arguments or "")
    tell_result(step, result, error)
    return step


def handoff_step(step: Step, instruction: str) -> Step:
    """A finished fingerprint of a handoff: who is told what."""
    step.sketch = words(instruction, TASK_SKETCH)
    step.args_length = len(instruction)
    step.has_args = bool(instruction.strip())
    step.exact = _hash(f"{step.tool}\0{_SPACE.sub(' ', _masked(instruction)).strip()}")
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


def settle_output(step: Step) -> None:
    """Finishes the fingerprint of an output."""
    if step.text:
        text = _SPACE.sub(" ", _masked(step.text)).strip()
        step.outcome = step.outcome or _hash(text)
        step.sketch = words(text)
        if step.told:
            step.input_hash = _hash(_SPACE.sub(" ", step.told).strip()[:400])
            step.input_sketch = words(step.told)
        step.text = step.told = ""
