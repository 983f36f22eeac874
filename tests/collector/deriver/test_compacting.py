from __future__ import annotations

import pytest

from collector.deriver.compacting import MOST_TEXTS, Compacting
from mappers.model import Document, Event, Kind, Status


def told(**fields: object) -> Event:
    """An event with texts of its own, as they are read from a span."""
    made = Event(
        run_id=_own("a" * 32),
        trace_id=_own("a" * 32),
        span_id="1" * 16,
        parent_span_id=_own("2" * 16),
        name=_own("chat"),
        session_id=_own("session"),
        user_id=_own("user"),
        provider=_own("openai"),
        request_model=_own("gpt-5"),
        response_model=_own("gpt-5-2026"),
        tool=_own("search"),
        input="asked",
        output="answered",
        metadata={"plan": "pro"},
        parameters={"temperature": "0"},
        offered_tools=("search",),
        documents=(Document("1", None),),
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _own(text: str) -> str:
    return text[:1] + "".join(text[1:])


SHARED = ("run_id", "trace_id", "parent_span_id", "name", "session_id", "user_id", "provider", "tool")
SHARED += ("request_model", "response_model")


def test_events_that_say_the_same_share_its_text() -> None:
    first, second = told(), told()
    assert first.session_id is not second.session_id
    compacting = Compacting()
    compacting.compact([first])
    compacting.compact([second])
    for name in SHARED:
        assert getattr(first, name) == getattr(told(), name)
        assert getattr(first, name) is getattr(second, name), name
    assert first.run_id is first.trace_id


def test_an_event_of_another_trace_keeps_its_own() -> None:
    event = told(trace_id="b" * 32)
    Compacting().compact([event])
    assert (event.run_id, event.trace_id) == ("a" * 32, "b" * 32)


def test_what_only_the_stored_row_needs_is_let_go_of() -> None:
    event = told()
    Compacting().compact([event])
    assert (event.input, event.output) == ("", "")
    assert (event.metadata, event.parameters, event.offered_tools, event.documents) == ({}, {}, (), ())


@pytest.mark.parametrize("kept", [{"is_root": True}, {"filled": ("output",)}, {"source": "log"}], ids=str)
def test_what_a_run_may_still_need_is_kept(kept: dict[str, object]) -> None:
    event = told(**kept)
    Compacting().compact([event])
    assert (event.input, event.output, event.metadata) == ("asked", "answered", {"plan": "pro"})


def test_texts_to_share_are_bounded() -> None:
    compacting = Compacting()
    for number in range(3):
        compacting.compact([told(name=f"{number} {one}") for one in range(MOST_TEXTS)])
    assert len(compacting._texts) <= 2 * MOST_TEXTS


def test_a_call_that_failed_keeps_what_it_is_known_again_by() -> None:
    failed, tool = (told(status=Status.ERROR, kind=kind) for kind in (Kind.LLM, Kind.TOOL))
    Compacting().compact([failed, tool])
    assert (failed.input, tool.input) == ("asked", "")
