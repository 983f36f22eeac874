"""What the texts of a step say of it."""

from __future__ import annotations

import pytest

from mappers.loops.fingerprint import tool_step
from mappers.loops.signs import looks_failed
from mappers.loops.step import Step, StepKind


@pytest.mark.parametrize(
    "text",
    [
        "Error: no",
        "search: fatal: it broke",
        "bash: line 7: javac: command not found",
        "NO SUCH FILE or directory",
        "invalid Syntax Error near",
        "not recognised as a command",
        "Execution timed out",
        "timed out after 30 s",
        "exit code: 1",
        "exited with status 2",
        "Permission denied",
        "Connection refused",
        "unknown option -x",
        '{"error": "quota"}',
        "unexpected EOF while reading",
        "cannot access the file",
        "Too Many Requests",
        "rate limit exceeded",
        "5 is not a valid id",
        "No SQL code block was found",
        "we encountered an error",
        "The page was not found",
        "usage: edit FILE",
        "failed to fetch",
        "Unhandled thing",
        "Traceback (most recent call last)",
        "ok so far\nValueError: no such city",
        "x" * 300 + "\nSomeException",
    ],
)
def test_an_error_in_words_is_seen(text: str) -> None:
    assert looks_failed(text)


@pytest.mark.parametrize(
    "text", ["18C and cloudy", '{"error": null, "code": 0}', "the code is 4711", "exit 7, left"]
)
def test_other_words_are_no_error(text: str) -> None:
    assert not looks_failed(text)


def step(result: str) -> Step:
    return tool_step(Step("1", StepKind.TOOL, tool="look"), "{}", result, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("at 2026-01-02T03:04:05.678Z", "at 2026-01-02 11:22:33+01:00"),
        ("took 12.5 ms", "took 7 seconds"),
        ("object at 0x7f12ab34cd", "object at 0x11223344"),
    ],
)
def test_what_changes_by_itself_makes_no_difference(one: str, other: str) -> None:
    assert step(one).outcome == step(other).outcome


def test_a_number_of_any_length_is_read_once() -> None:
    """By the square of its length this would take an hour."""
    assert step("7" * 500_000).outcome != step("7" * 499_999).outcome
