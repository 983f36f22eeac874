from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelPrice

from mappers.assemble import assemble
from mappers.cost import Override, Prices, Rate, Rates, _rates
from mappers.model import PROXY_SCOPE, Event, Kind, Status
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of


def at(year: int, month: int, day: int, hour: int = 12) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 10**9


def call(provider: str = "openai", model: str = "gpt-4o-mini", **given: Any) -> Event:
    usual: dict[str, Any] = {
        "kind": Kind.LLM,
        "start_ns": at(2026, 6, 1),
        "input_tokens": 1_000,
        "output_tokens": 100,
    }
    return Event(run_id="r", span_id="s", provider=provider, response_model=model, **usual | given)


def priced(event: Event, *overrides: Override) -> Event:
    Prices(overrides, "overrides 1").price(event)
    return event


MINI = Decimal("0.00021")  # 1,000 read at 0.15 and 100 written at 0.60 dollars a million


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18"),
        ("openai.responses", "gpt-4o-mini"),
        ("openai.chat", "GPT-4o-mini"),
        ("OpenAI", "openai/gpt-4o-mini"),
        ("azure", "gpt-4o-mini-2024-07-18"),
        ("azure.ai.openai", "gpt-4o-mini"),
        ("openrouter", "openai/gpt-4o-mini"),
        ("", "openrouter/openai/gpt-4o-mini"),
        ("", "openai/gpt-4o-mini"),
        ("litellm", "azure/gpt-4o-mini"),
        ("langgraph", "gpt-4o-mini"),
        ("autogen", "gpt-4o-mini"),
        ("", "gpt-4o-mini"),
    ],
)
def test_one_model_has_one_price_however_it_is_named(provider: str, model: str) -> None:
    event = priced(call(provider, model))
    assert (event.cost_usd, event.cost_source) == (MINI, "computed")
    assert event.price_version.startswith("genai-prices ")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("aws.bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
        ("aws.bedrock", "us.anthropic.claude-3-5-sonnet-20240620-v1:0"),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0",
        ),
        ("", "bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0"),
        ("anthropic", "claude-3-5-sonnet-20240620"),
        ("Anthropic", "claude-3-5-sonnet-latest"),
        ("anthropic.messages", "claude-3-5-sonnet-20240620"),
        ("gcp.vertex_ai", "claude-3-5-sonnet@20240620"),
        ("vertex_ai", "publishers/anthropic/models/claude-3-5-sonnet@20240620"),
    ],
)
def test_claude_is_found_wherever_it_is_sold(provider: str, model: str) -> None:
    assert priced(call(provider, model)).cost_usd == Decimal("0.0045")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("gcp.gemini", "gemini-2.0-flash"),
        ("gcp.vertex_ai", "gemini-2.0-flash-001"),
        ("gcp.vertex.agent", "gemini-2.0-flash"),
        ("google.generative-ai", "models/gemini-2.0-flash"),
        ("", "gemini/gemini-2.0-flash"),
    ],
)
def test_gemini_is_found_under_all_names_of_google(provider: str, model: str) -> None:
    assert priced(call(provider, model)).cost_usd == Decimal("0.00014")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "my-own-model"),
        ("ollama", "llama3.1:8b"),
        ("ollama", "mistral-large-latest"),
        ("vllm", "gpt-4o-mini"),
        ("", "ollama/mistral-large-latest"),
        ("", ""),
        ("nobody", "\ud800/@/%s"),
        ("openai", "whisper-1"),
    ],
)
def test_what_has_no_known_price_has_no_cost(provider: str, model: str) -> None:
    event = priced(call(provider, model))
    assert (event.cost_usd, event.cost_source, event.price_version) == (None, "", "")


@pytest.mark.parametrize("unknown", [{"input_tokens": None}, {"output_tokens": None}])
def test_a_call_that_is_half_known_has_no_cost(unknown: dict[str, Any]) -> None:
    assert priced(call(**unknown)).cost_usd is None


@pytest.mark.parametrize("provider", ["openai", "", "langchain"])
@pytest.mark.parametrize("model", ["text-embedding-3-small", "my-gateway/text-embedding-3-small"])
def test_an_embedding_is_charged_for_what_it_reads(provider: str, model: str) -> None:
    event = priced(call(provider, model, kind=Kind.EMBEDDING, output_tokens=None))
    assert event.cost_usd == Decimal("0.00002")


def test_each_part_has_its_price() -> None:
    rates = Rates(
        input=Rate.of(Decimal(1)),
        output=Rate.of(Decimal(10)),
        cache_read=Rate.of(Decimal("0.1")),
        cache_write=Rate.of(Decimal(2)),
        audio_input=Rate.of(Decimal(5)),
        audio_output=Rate.of(Decimal(50)),
        reasoning=Rate.of(Decimal(20)),
        request_nano=1_000_000,
    )
    event = call(
        input_tokens=1_000,
        cache_read_tokens=400,
        cache_write_tokens=300,
        audio_input_tokens=200,
        output_tokens=100,
        audio_output_tokens=40,
        reasoning_tokens=30,
    )
    read = 100 * 1 + 400 * Decimal("0.1") + 300 * 2 + 200 * 5
    written = 30 * 10 + 40 * 50 + 30 * 20
    assert rates.of(event) == (read + written) / 1_000_000 + Decimal("0.001")


def test_more_cache_than_input_never_makes_a_cost_negative() -> None:
    event = priced(
        call(input_tokens=10, cache_read_tokens=50, audio_input_tokens=99, audio_output_tokens=999)
    )
    assert event.cost_usd is not None
    assert event.cost_usd > 0


def test_the_price_is_the_one_of_the_calls_day() -> None:
    night, day = (
        priced(call("deepseek", "deepseek-chat", start_ns=at(2025, 6, 1, hour))).cost_usd for hour in (20, 10)
    )
    assert night is not None
    assert day is not None
    assert night != day


def test_the_price_follows_the_service_tier() -> None:
    usual, flex = (
        priced(call(model="gpt-5", service_tier=tier, start_ns=at(2026, 11, 1))).cost_usd
        for tier in ("", "flex")
    )
    assert usual is not None
    assert flex == usual / 2


def test_a_tier_of_which_no_price_is_known_has_no_cost() -> None:
    usual = priced(call(model="gpt-4o", service_tier="default")).cost_usd
    assert (
        usual
        == priced(call(model="gpt-4o")).cost_usd
        == priced(call(model="gpt-4o", service_tier="auto")).cost_usd
    )
    assert priced(call(model="gpt-4o", service_tier="scale")).cost_usd is None
    batch = priced(call("anthropic", "claude-haiku-4-5", service_tier="batch", start_ns=at(2026, 11, 1)))
    whole = priced(call("anthropic", "claude-haiku-4-5", service_tier="standard", start_ns=at(2026, 11, 1)))
    assert batch.cost_usd is not None
    assert whole.cost_usd == 2 * batch.cost_usd


def test_a_cache_that_lasts_an_hour_costs_more_to_write() -> None:
    def cost(model: str, **given: int) -> Decimal | None:
        return priced(
            call("anthropic", model, input_tokens=1_000, cache_write_tokens=1_000, output_tokens=0, **given)
        ).cost_usd

    minutes, hour = cost("claude-haiku-4-5"), cost("claude-haiku-4-5", cache_write_1h_tokens=1_000)
    assert (minutes, hour) == (Decimal("0.00125"), Decimal("0.002"))
    assert cost("claude-haiku-4-5", cache_write_1h_tokens=400) == Decimal("0.00155")


def test_an_hour_s_price_is_not_guessed_from_five_minutes() -> None:
    rates = Rates(input=Rate.of(Decimal(1)), output=Rate.of(Decimal(1)), cache_write=Rate.of(Decimal(2)))
    event = call(cache_write_tokens=10, cache_write_1h_tokens=10)
    assert rates.of(event) is None
    assert replace(rates, cache_write=None).of(event) is not None
    assert replace(rates, cache_write_1h=Rate.of(Decimal(3))).of(event) is not None


@pytest.mark.parametrize(
    ("attributes", "tier", "kept_an_hour"),
    [
        ({"anthropic.response.service_tier": "standard", "anthropic.response.speed": "fast"}, "fast", None),
        ({"openai.request.service_tier": "flex"}, "flex", None),
        (
            {"openai.request.service_tier": "priority", "openai.response.service_tier": "default"},
            "default",
            None,
        ),
        ({"anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 7}, "", 7),
    ],
)
def test_what_the_price_depends_on_is_read(
    attributes: dict[str, Any], tier: str, kept_an_hour: int | None
) -> None:
    event = Normalizer().normalize(
        span_of({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 10, **attributes})
    )
    assert (event.service_tier, event.cache_write_1h_tokens) == (tier, kept_an_hour)


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "searches"),
    [
        ("anthropic", "claude-sonnet-4-6", "0.0045", "0.03"),
        ("openai.responses", "gpt-4o-mini", "0.00021", "0.03"),
        ("gcp.gemini", "gemini-3.1-pro-preview", "0.0032", "0.042"),
        ("gcp.vertex_ai", "gemini-2.5-flash", "0.00055", "0.035"),  # by prompt, not by search
    ],
    ids=["anthropic", "openai", "gemini 3", "gemini 2"],
)
def test_searches_of_the_web_are_charged_beside_the_tokens(
    provider: str, model: str, tokens: str, searches: str
) -> None:
    assert priced(call(provider, model, web_searches=0)).cost_usd == Decimal(tokens)
    assert priced(call(provider, model, web_searches=3)).cost_usd == Decimal(tokens) + Decimal(searches)


@pytest.mark.parametrize(
    ("model", "tool", "each"),
    [
        ("gpt-4o", "web_search", "0.01"),
        ("gpt-4o", "web_search_preview", "0.025"),
        ("gpt-4.1-mini", "web_search_preview_2025_03_11", "0.025"),
        ("gpt-5", "web_search_preview", "0.01"),
        ("o4-mini", "web_search_preview", "0.01"),
    ],
)
def test_openai_s_older_search_costs_more_with_models_that_do_not_reason(
    model: str, tool: str, each: str
) -> None:
    offered = ("get_weather", tool)
    without, searched = (
        priced(call("openai", model, offered_tools=offered, web_searches=searches)).cost_usd
        for searches in (0, 2)
    )
    assert without is not None
    assert searched == without + 2 * Decimal(each)


def test_searches_of_which_no_price_is_known_leave_the_cost_unknown() -> None:
    assert priced(call("groq", "llama-3.1-8b-instant", web_searches=1)).cost_usd is None
    rates = Rates(input=Rate.of(Decimal(1)), output=Rate.of(Decimal(1)))
    searched = call(web_searches=2)
    assert rates.of(searched) is None
    assert replace(rates, search_nano=10_000_000).of(searched) == Decimal("0.0011") + Decimal("0.02")
    assert replace(rates, request_nano=5_000_000).of(searched) == Decimal("0.0061")  # which includes them


_SEARCHED = {"usage": {"input_tokens": 5, "server_tool_use": {"web_search_requests": 2}}}
_LANGCHAIN = {"generations": [[{"message": {"kwargs": {"response_metadata": _SEARCHED}}}]]}


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "chat", "eddyline.usage.web_searches": 2},
        {
            "gen_ai.operation.name": "acompletion",
            "litellm.call_id": "c",
            "metadata.usage_object": str(_SEARCHED["usage"]),
        },
        {
            "gen_ai.operation.name": "acompletion",
            "litellm.call_id": "c",
            "metadata.usage_object": "{'prompt_tokens_details': {'web_search_requests': 2}}",
        },
        {
            "logfire.msg": "m",
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.raw": json.dumps(_SEARCHED["usage"]),
        },
        {"logfire.msg": "m", "request_data": "{}", "response_data": json.dumps(_SEARCHED)},
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.response.providerMetadata": json.dumps({"anthropic": _SEARCHED}),
        },
        {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanOutputs": json.dumps(_SEARCHED)},
        {"openinference.span.kind": "LLM", "output.value": json.dumps(_SEARCHED)},
        {"openinference.span.kind": "LLM", "output.value": json.dumps(_LANGCHAIN)},
        {"langsmith.span.kind": "llm", "gen_ai.completion": json.dumps(_SEARCHED)},
        {"langsmith.span.kind": "llm", "gen_ai.completion": json.dumps(_LANGCHAIN)},
    ],
    ids=[
        *("proxy", "litellm, anthropic", "litellm, others", "logfire", "logfire, older"),
        *("vercel_ai", "mlflow"),
        *("openinference", "openinference, langchain", "langsmith", "langsmith, langchain"),
    ],
)
def test_searches_are_counted_where_instrumentations_tell_them(attributes: dict[str, Any]) -> None:
    event = Normalizer().normalize(span_of(attributes))
    assert (event.kind, event.web_searches) == (Kind.LLM, 2)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"content": json.dumps(_SEARCHED)}),  # a model that writes about them
        json.dumps({"usage": {"server_tool_use": {"web_search_requests": "2"}}}),
        json.dumps({"usage": {"server_tool_use": None}, "web_search_requests": 2}),
        "not JSON: web_search_requests",
        7,
    ],
    ids=["said", "no number", "elsewhere", "no JSON", "no text"],
)
def test_what_only_looks_like_searches_is_none(answer: Any) -> None:
    span = span_of({"openinference.span.kind": "LLM", "output.value": answer})
    assert Normalizer().normalize(span).web_searches is None


def test_a_twin_that_knows_of_searches_makes_the_cost_of_one_that_does_not() -> None:
    """An SDK's span has the tokens alone; the proxy saw what else was charged."""
    ours = priced(call("anthropic", "claude-sonnet-4-6", web_searches=1))
    ours = replace(
        ours, span_id="p", parent_span_id="s", source="proxy", scope=PROXY_SCOPE, response_id="msg_1"
    )
    theirs = priced(call("anthropic", "claude-sonnet-4-6", response_id="msg_1"))
    for events in ([theirs, ours], [ours, theirs]):
        run = assemble([replace(event) for event in events]).run
        assert (run.counts.llm_calls, run.cost_usd) == (1, Decimal("0.0145"))


def test_the_first_override_that_fits_comes_before_the_list() -> None:
    def override(dollars: int, **given: Any) -> Override:
        rates = Rates(input=Rate.of(Decimal(dollars)), output=Rate.of(Decimal(0)))
        return Override(rates=rates, **{"model": "GPT-4o*", **given})

    overrides = [
        override(1, provider="azure"),
        override(2, since=date(2026, 7, 1)),
        override(3),
        override(4),
    ]
    event = priced(call(), *overrides)
    assert (event.cost_usd, event.cost_source) == (Decimal("0.003"), "override")
    assert event.price_version == "overrides 1"
    assert priced(call("azure"), *overrides).cost_usd == Decimal("0.001")
    assert priced(call(start_ns=at(2026, 7, 1)), *overrides).cost_usd == Decimal("0.002")
    assert priced(call(model="o3-mini"), *overrides).cost_source == "computed"


def test_the_request_s_model_is_used_where_the_response_s_is_in_no_list() -> None:
    assert priced(call(model="deployment-7", request_model="gpt-4o-mini")).cost_usd == MINI


@pytest.mark.parametrize(("reported", "source"), [(0.5, "reported"), (0, "computed"), (0.0, "computed")])
def test_a_reported_cost_holds_unless_it_is_nothing(reported: float, source: str) -> None:
    event = Normalizer().normalize(
        span_of(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.usage.input_tokens": 1_000,
                "gen_ai.usage.output_tokens": 100,
                "gen_ai.usage.cost": reported,
            },
            start_ns=at(2026, 6, 1),
        )
    )
    assert event.cost_source == source
    assert event.cost_usd == (Decimal("0.5") if reported else MINI)


@pytest.mark.parametrize("damaged", ["1e999999999", "1e15", "NaN", "-1"])
def test_a_reported_cost_that_is_no_money_is_not_taken(damaged: str) -> None:
    event = Normalizer().normalize(span_of({"openinference.span.kind": "LLM", "llm.cost.total": damaged}))
    assert (event.cost_usd, event.cost_source, assemble([event]).run.cost_usd) == (None, "", None)


def test_agents_that_repeat_sums_have_no_cost() -> None:
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.output_tokens": 100,
    }
    assert Normalizer().normalize(span_of(attributes)).cost_usd is None


def test_a_run_costs_what_its_priced_calls_cost_and_says_what_is_missing() -> None:
    calls = [
        replace(priced(call()), span_id="a"),
        replace(
            priced(call(model="text-embedding-3-small", kind=Kind.EMBEDDING, output_tokens=None)), span_id="b"
        ),
        replace(call(model="mystery"), span_id="c"),
        replace(
            call(model="mystery", status=Status.ERROR, input_tokens=None, output_tokens=None), span_id="d"
        ),
    ]
    run = assemble(calls).run
    assert run.cost_usd == MINI + Decimal("0.00002")
    assert run.cost_source == "computed"
    assert run.counts.unpriced_calls == 1


def test_a_run_without_a_known_price_has_no_cost() -> None:
    run = assemble([call(model="mystery")]).run
    assert (run.cost_usd, run.cost_source, run.counts.unpriced_calls) == (None, "", 1)


def test_a_run_of_several_sources_is_mixed() -> None:
    reported = call(cost_usd=Decimal(1), cost_source="reported")
    run = assemble([reported, replace(priced(call()), span_id="t")]).run
    assert (run.cost_usd, run.cost_source) == (1 + MINI, "mixed")


def test_our_arithmetic_is_the_list_s() -> None:
    """For every model that is sold by tokens, with caches and searches, small and beyond every step."""
    compared = 0
    for provider in providers:
        for model in provider.models:
            prices = model.prices if isinstance(model.prices, ModelPrice) else model.prices[0].prices
            rates = _rates(prices, model.id)
            if rates is None or rates.output is None:
                continue
            for scale in (1, 1_000):
                tokens = {
                    "input_tokens": 1_000 * scale,
                    "output_tokens": 70 * scale,
                    "cache_read_tokens": 300 * scale,
                    "cache_write_tokens": 200 * scale,
                }
                if prices.web_searches_kcount is not None:
                    tokens["web_searches"] = 1
                expected = prices.calc_price(Usage(**tokens))["total_price"]
                assert rates.of(call(**tokens)) == expected.quantize(Decimal("0.000000001"), ROUND_HALF_UP), (
                    provider.id,
                    model.id,
                )
                compared += 1
    assert compared > 1_000
