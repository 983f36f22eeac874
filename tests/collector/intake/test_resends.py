"""Requests that are sent again byte for byte: what is remembered of them, and for how long."""

from __future__ import annotations

import weakref

import pytest

from collector.intake.resends import KEPT_S, Resends


def test_a_request_is_known_for_ten_minutes() -> None:
    now = [0.0]
    resends: Resends[str] = Resends(lambda: now[0])
    key = Resends.key(b"body", "traces", "tenant", "project")
    assert resends.answer(key) is None
    resends.remember(key, "taken")
    assert KEPT_S == 600
    for at, answer in ((599.0, "taken"), (600.0, None)):
        now[0] = at
        assert resends.answer(key) == answer


def test_the_oldest_is_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.intake.resends.MOST", 3)
    resends: Resends[int] = Resends(lambda: 0.0)
    keys = [Resends.key(bytes([number])) for number in range(4)]
    for number, key in enumerate(keys):
        resends.remember(key, number)
    assert [resends.answer(key) for key in keys] == [None, 1, 2, 3]


def test_the_oldest_is_the_one_that_was_taken_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.intake.resends.MOST", 2)
    resends: Resends[str] = Resends(lambda: 0.0)
    first, second, third = (Resends.key(body) for body in (b"first", b"second", b"third"))
    for key in (first, second, first, third):
        resends.remember(key, "taken")
    assert [resends.answer(key) for key in (first, second, third)] == ["taken", None, "taken"]


def test_what_is_too_old_is_let_go_of() -> None:
    class Answer:
        pass

    now = 0.0
    resends: Resends[Answer] = Resends(lambda: now)
    answer = Answer()
    resends.remember(Resends.key(b"old"), answer)
    kept = weakref.ref(answer)
    del answer
    now = KEPT_S
    resends.remember(Resends.key(b"new"), Answer())
    assert kept() is None


def test_a_request_of_another_tenant_project_or_coding_is_another() -> None:
    contexts = (("a", "b"), ("a", "c"), ("ab", ""), ("", "ab"), ("a", "b", "gzip"))
    assert len({Resends.key(b"body", *context) for context in contexts}) == len(contexts)
