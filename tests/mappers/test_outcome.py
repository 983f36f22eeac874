from __future__ import annotations

from typing import Any

import pytest

from mappers.model import Event, SpanEvent, Status, StatusCode
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of

CHAT = {"gen_ai.operation.name": "chat"}
TOOL = {"gen_ai.operation.name": "execute_tool"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}


def read(attributes: dict[str, Any], told: str = "", code: int = 0, **exception: str) -> Event:
    events = [SpanEvent(1, "exception", {f"exception.{key}": value for key, value in exception.items()})]
    return Normalizer().normalize(
        span_of(attributes, status_code=code, status_message=told, events=events if exception else [])
    )


@pytest.mark.parametrize(
    ("message", "kind", "told", "status"),
    [
        ("RateLimitError: slow down", "RateLimitError", "RateLimitError: slow down", None),
        ("Error code: 429 - {'error': {'message': 'slow', 'type': 'tokens'}}", "tokens", None, 429),
        (
            '{"error": {"message": "slow down", "type": "rate_limit_error"}}',
            "rate_limit_error",
            "slow down",
            None,
        ),
        (
            '{"type":"error","error":{"type":"overloaded_error","message":"busy"}}',
            "overloaded_error",
            "busy",
            None,
        ),
        ('{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}', "UNAVAILABLE", "busy", 503),
        (
            "{'message': 'Error getting response', 'data': {'error': "
            "'Error code: 400 - {\\'error\\': {\\'message\\': \\'bad\\', \\'type\\': \\'invalid\\'}}'}}",
            "invalid",
            "bad",
            400,
        ),
        (
            """Error getting response: {'error': "Error code: 429 - {'error': {'type': 'tokens'}}"}""",
            "tokens",
            None,
            429,
        ),
        ('{"error": "no such model"}', "", "no such model", None),
        ("HTTP 500: oops", "", "HTTP 500: oops", 500),
        ("429 Rate limit reached", "", "429 Rate limit reached", 429),
        ("\n  slow down \n", "", "slow down", None),
        ("404items are missing", "", "404items are missing", None),
        ("it {broke", "", "it {broke", None),
        ("", "", "", None),
    ],
)
def test_why_a_call_failed_is_read_from_what_the_provider_answered(
    message: str, kind: str, told: str | None, status: int | None
) -> None:
    event = read(CHAT, message, StatusCode.ERROR)
    assert event.status == Status.ERROR
    if kind == "UNAVAILABLE":
        assert event.error_type in ("UNAVAILABLE", "503")
    else:
        assert event.error_type == kind
    assert event.error_message == (message if told is None else told)
    assert event.http_status == status


def test_an_exception_says_more_than_the_status() -> None:
    event = read(CHAT, "failed", StatusCode.ERROR, type="openai.RateLimitError", message="slow down")
    assert (event.error_type, event.error_message) == ("openai.RateLimitError", "slow down")


@pytest.mark.parametrize(
    ("message", "kind", "told"),
    [
        (
            "ValueError('station is down')\n\nTraceback (most recent call last)",
            "ValueError",
            "station is down",
        ),
        ("ValueError('station is down')Traceback (most recent", "ValueError", "station is down"),
        ("""TimeoutError("it's late", 3)""", "TimeoutError", "it's late"),
        ("Error in f('x')", "Exception", "Error in f('x')"),
        ("ValueError('x') was raised", "Exception", "ValueError('x') was raised"),
    ],
)
def test_an_exception_that_python_wrote_into_the_message_is_read(message: str, kind: str, told: str) -> None:
    event = read(TOOL, "", StatusCode.ERROR, type="Exception", message=message)
    assert (event.error_type, event.error_message) == (kind, told)


@pytest.mark.parametrize(
    ("message", "exception"),
    [
        ("Command(goto='billing')", {}),
        ("ParentCommand: Command(graph='__parent__')", {}),
        ("langgraph.errors.GraphInterrupt(())", {}),
        ("x", {"type": "langgraph.errors.ParentCommand", "message": "y"}),
        ("x", {"type": "NodeInterrupt"}),
        ("x", {"type": "langgraph.errors.GraphBubbleUp"}),
    ],
)
def test_control_flow_is_no_failure(message: str, exception: dict[str, str]) -> None:
    event = read(TOOL, message, StatusCode.ERROR, **exception)
    assert (event.status, event.error_type, event.error_message) == (Status.OK, "", "")


def test_a_tool_that_speaks_of_commands_failed_all_the_same() -> None:
    assert read(TOOL, "CommandError(1)", StatusCode.ERROR).status == Status.ERROR


@pytest.mark.parametrize("attribute", [{"error.type": "TimeoutError"}, {"http.response.status_code": 429}])
def test_a_call_that_names_a_failure_failed_unless_it_says_otherwise(attribute: dict[str, Any]) -> None:
    assert read(CHAT | attribute).status == Status.ERROR
    assert read(CHAT | attribute, code=StatusCode.OK).status == Status.OK
    assert read(AGENT | attribute).status == Status.OK


def test_an_answer_with_a_good_status_is_no_failure() -> None:
    event = read(CHAT | {"http.response.status_code": 200})
    assert (event.status, event.http_status) == (Status.OK, 200)


def test_an_exception_that_was_handled_is_no_failure() -> None:
    assert read(TOOL, type="ValueError", message="handled").status == Status.OK
