"""What a run and its calls show of themselves, whichever convention they came in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mappers.assemble import assemble
from mappers.conventions.fields import money, provider
from mappers.model import Event, Kind, Run
from mappers.normalize import Normalizer
from tests.corpus import Scenario, captured, scenarios
from tests.mappers.spans import captured_runs, span_of

ALL = {scenario.name: scenario for scenario in (*scenarios(), *captured())}


def told(name: str) -> tuple[Run, list[Event]]:
    """The run of a captured scenario that is no set-up, and its model calls in order."""
    scenario: Scenario = ALL[name]
    runs, events = captured_runs(scenario)
    (run,) = [run for run in runs if not run.setup_only]
    calls = [
        event for event in events if event.kind is Kind.LLM and not event.part and not event.duplicate_of
    ]
    return run, sorted(calls, key=lambda event: event.start_ns)


@pytest.mark.parametrize(
    ("name", "asked", "answered"),
    [
        ("langfuse/sdk-v5-langchain/handoff", "I want a refund for my order", "Your refund of $20"),
        ("lmnr/langgraph/handoff_lg", "What is the weather", "It is 18C and cloudy."),
        ("mlflow/langgraph/handoff_lg", "What is the weather", "It is 18C and cloudy."),
        ("mlflow/decorators/tools", '{"q": "What is the weather', "It is 18C and cloudy."),
        ("genkit/js/tools", "What is the weather", "It is 18C and cloudy."),
        ("openinference/crewai/tools", "", "It is 18C and cloudy."),
        ("traceloop/sdk-decorators/tools", "What is the weather", "It is 18C and cloudy"),
        ("vercel_ai/ai-sdk-v5/tools", "What is the weather", "It is 18C and cloudy"),
        ("gen_ai/semantic-kernel/tools", "", "It is 18C and cloudy"),
        ("haystack/native/tools", '{"agent": {"messages"', ""),
    ],
)
def test_a_run_shows_what_was_asked_and_what_was_answered_in_the_end(
    name: str, asked: str, answered: str
) -> None:
    run, _ = told(name)
    assert run.input.startswith(asked)
    assert run.output.startswith(answered)
    assert bool(run.input) == bool(asked)
    assert bool(run.output) == bool(answered)


@pytest.mark.parametrize(
    "name",
    [
        "haystack/native/tools",
        "langfuse/sdk-v5-langchain/tools",
        "llama_index/native/tools",
        "traceloop/haystack/tools",
    ],
)
def test_calls_show_the_question_the_results_and_the_answer(name: str) -> None:
    _, calls = told(name)
    assert calls[0].input.startswith("What is the weather")
    assert calls[0].output.startswith("get_weather({")
    assert calls[1].input == "18C and cloudy"
    assert calls[-1].output.startswith("It is 18C and cloudy")


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("gen_ai/strands-native/tools", ["tool_use", "tool_use", "end_turn"]),
        ("openinference/strands/tools", ["tool_use", "tool_use", "end_turn"]),
        ("lmnr/langgraph/handoff_lg", ["tool_calls", "stop"]),
        ("llama_index/native/tools", ["tool_calls", "tool_calls", "stop"]),
        ("openinference/autogen/tools", ["function_calls", "function_calls", "stop"]),
        ("haystack/native/tools", ["tool_calls", "tool_calls", "stop"]),
    ],
)
def test_why_an_answer_ended_is_read_wherever_it_stands(name: str, reasons: list[str]) -> None:
    _, calls = told(name)
    assert [*map(list, (call.finish_reasons for call in calls))] == [[reason] for reason in reasons]


@pytest.mark.parametrize(
    ("name", "agents"),
    [
        ("mlflow/langgraph/handoff_lg", ("weather_agent", "billing_agent")),
        ("lmnr/langgraph/toolerr", ("weather_agent",)),
        ("codex/cli/tools", ("codex",)),
        ("langfuse/sdk-v5-langchain/handoff", ("triage_agent", "billing_agent")),
    ],
)
def test_agents_are_those_who_act_also_where_nobody_tells_of_their_turns(
    name: str, agents: tuple[str, ...]
) -> None:
    run, _ = told(name)
    assert run.agents == agents


def test_documents_that_were_found_are_known_by_their_ids() -> None:
    _, events = captured_runs(ALL["langfuse/sdk-v5-langchain/rag"])
    [found] = [event.documents for event in events if event.kind is Kind.RETRIEVER]
    assert len(found) == 2
    assert all(document.id for document in found)


def test_messages_that_say_nothing_show_nothing() -> None:
    _, calls = told("mastra/js/tools")
    assert [call.output for call in calls[:-1]] == [""] * (len(calls) - 1)


def test_a_search_for_documents_is_one_whoever_tells_of_it() -> None:
    found = {}
    for library in ("langfuse/sdk-v5-langchain", "openinference/langchain", "traceloop/langchain"):
        _, events = captured_runs(ALL[f"{library}/rag"])
        found[library] = [event.input for event in events if event.kind is Kind.RETRIEVER]
    assert [len(searches) for searches in found.values()] == [1, 1, 1]


def test_what_is_empty_is_not_shown_and_an_answer_in_quotes_is_its_text() -> None:
    def of(value: str) -> str:
        span = span_of({"traceloop.span.kind": "workflow", "traceloop.entity.output": value})
        return assemble([Normalizer().normalize(span)]).run.output

    assert [of(value) for value in ("{}", "[]", '"42"', "42", '"')] == ["", "", "42", "42", '"']


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        (0.000026399999999999998, "0.0000264"),
        (0.1 + 0.2, "0.3"),
        ("0.000026399999999999998", "0.000026399999999999998"),
        (12, "12"),
    ],
)
def test_the_noise_of_a_float_is_no_money(written: Any, amount: str) -> None:
    assert money(written) == Decimal(amount)


def test_providers_are_written_alike() -> None:
    assert [provider(name) for name in ("OpenAI", "openai", "None", "")] == ["openai", "openai", None, None]


def test_an_answer_passed_on_whole_tells_what_its_package_left_out() -> None:
    _, (first, *_, last) = told_in_turn("openinference/anthropic-012/tools")

    assert first.finish_reasons == ("tool_use",)
    assert last.finish_reasons == ("end_turn",)
    assert first.input_tokens is not None
    assert first.cache_read_tokens is not None
    assert first.cache_write_tokens is not None
    assert first.input_tokens > first.cache_read_tokens + first.cache_write_tokens

    _, (gemini, *_) = told_in_turn("openinference/google-genai-14/par")
    assert gemini.response_id.startswith("id-")

    _, (responses, *_) = told_in_turn("openinference/openai-014/responses_tools")
    assert responses.response_model == "gpt-4o-mini-2024-07-18"
    assert responses.cost_usd is not None


def told_in_turn(name: str) -> tuple[list[Run], list[Event]]:
    """The runs of a captured scenario whose calls are runs of their own, and these in order."""
    runs, events = captured_runs(ALL[name])
    calls = [event for event in events if event.kind is Kind.LLM]
    return runs, sorted(calls, key=lambda event: event.start_ns)


def test_the_address_of_an_object_is_no_answer() -> None:
    _, (stream,) = told_in_turn("openinference/groq/stream")

    assert (stream.output, stream.output_bytes) == ("", None)
    assert stream.input


@pytest.mark.parametrize(
    "said",
    [
        "<groq.Stream object at 0x7fc2ddc7c310>",
        "<generator object answer at 0x7f12>",
        "<function <lambda> at 0x7FA0>",
    ],
)
def test_what_python_writes_of_an_object_without_a_text_is_not_captured_content(said: str) -> None:
    tool = Normalizer().normalize(
        span_of({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.result": said})
    )

    assert (tool.output, tool.result_hash) == ("", 0)


@pytest.mark.parametrize("said", ["<b>at 0x1</b>", "see <x object at 0x7f>", "<html>"])
def test_text_in_angle_brackets_is_content(said: str) -> None:
    tool = Normalizer().normalize(
        span_of({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.result": said})
    )

    assert tool.output == said


def test_a_request_in_the_form_of_strands_for_javascript_is_one() -> None:
    _, (first, second, last) = told("gen_ai/strands-ts/tools")

    assert [[request.name for request in call.tool_requests] for call in (first, second, last)] == [
        ["get_weather"],
        ["get_weather"],
        [],
    ]
    assert first.output == 'get_weather({"city":"Paris"})'
    assert second.input == "18C and cloudy in Paris"


def test_the_end_of_a_stream_that_says_only_what_it_used_is_no_answer() -> None:
    _, (first, *_, last) = told("google_adk/js/stream")

    assert (first.output, last.output) == ("", "It is 18C and cloudy.")
    assert first.reasoning_tokens == 10


def test_a_model_of_genkit_names_its_provider() -> None:
    _, calls = told("genkit/js/tools")

    assert {call.provider for call in calls} == {"openai"}


@pytest.mark.parametrize(
    ("name", "kind", "documents"),
    [
        ("traceloop/chromadb/chroma_query", Kind.RETRIEVER, ["a", "b"]),
        ("traceloop/chromadb/chroma_add", Kind.OTHER, []),
        ("traceloop/qdrant/qdrant_query", Kind.RETRIEVER, []),
    ],
)
def test_a_question_to_a_vector_store_is_a_retrieval(name: str, kind: Kind, documents: list[str]) -> None:
    _, (event,) = captured_runs(ALL[name])

    assert event.kind is kind
    assert [document.id for document in event.documents] == documents
