"""What the texts of a step say of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.loops.fingerprint import arguments_of, head_of, outcome_of, tool_step
from mappers.loops.signs import acknowledges, looks_failed
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


@pytest.mark.parametrize(
    "text",
    [
        "OK",
        "it was deleted",
        "mail: Sent.",
        "- I have just now clicked the button",
        "Typed it",
        '{"ok": true}',
    ],
)
def test_an_answer_that_says_that_something_was_done_is_seen(text: str) -> None:
    assert acknowledges(text)


@pytest.mark.parametrize(
    "text", ["a book", "unsaved", "where they walked and who had it all and then clicked", "ok " + "x" * 300]
)
def test_other_answers_acknowledge_nothing(text: str) -> None:
    assert not acknowledges(text)


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


CHANGING = (
    ("2026-01-02T03:04:05Z", "12 ms", "0xdeadbeef12", "~"),
    (
        "1a" * 16,
        "a" * 31 + "1",
        "~",
        "123e4567-e89b-12d3-a456-426614174000",
        "a" * 8 + "-aaaa-bbbb-cccc-" + "d" * 12,
    ),
    ("7", "123", "#"),
    (" ", "  ", "\\n", "\t"),
)
"""What makes no difference, by kind."""
texts = st.lists(
    st.sampled_from([0, 1, 2, 3, "face", "a-b", "id-", "path/", "x", "é", '"', "deadbeef" * 9, "of it "]),
    max_size=12,
)


@given(texts, st.randoms(use_true_random=False))
def test_texts_that_are_the_same_begin_alike(text: list[int | str], chosen: Random) -> None:
    one, other = (
        "".join(chosen.choice(CHANGING[part]) if isinstance(part, int) else part for part in text)
        for _ in range(2)
    )
    said, also = arguments_of("tool", one), arguments_of("tool", other)
    if outcome_of(one) == outcome_of(other) or said.exact == also.exact or said.shape == also.shape:
        assert head_of(one) == head_of(other) or None in (head_of(one), head_of(other))


@given(st.integers(0, 400), st.sampled_from([" ", "\n", "\\n"]))
def test_however_much_space_a_text_has_it_begins_alike(width: int, space: str) -> None:
    told = (
        "lit at dusk the lantern of the harbour burns until the ships are home, and its keeper goes to rest"
    )
    assert head_of(told.replace(" ", space * width)) == head_of(told.replace(" ", ""))
