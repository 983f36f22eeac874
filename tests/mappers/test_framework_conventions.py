"""Spans of agent frameworks that no captured payload shows: older versions, and what their sources say."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from mappers.assemble import assemble
from mappers.model import Event, Kind, Scope, SpanEvent
from mappers.normalize import Normalizer
from tests.mappers.spans import span_of


def _event(scope: str, name: str, attributes: dict[str, Any] | None = None, /, **given: Any) -> Event:
    normalizer = Normalizer()
    event = normalizer.normalize(span_of(attributes or {}, name=name, scope=Scope(scope), **given))
    assert not normalizer.faults
    return event


@pytest.mark.parametrize(
    ("scope", "name", "attributes", "kind"),
    [
        ("haystack", "haystack.component.run", {"haystack.component.type": "OpenAIGenerator"}, Kind.LLM),
        (
            "haystack",
            "haystack.component.run",
            {"haystack.component.type": "OpenAITextEmbedder"},
            Kind.EMBEDDING,
        ),
        (
            "haystack",
            "haystack.component.run",
            {"haystack.component.type": "InMemoryBM25Retriever"},
            Kind.RETRIEVER,
        ),
        (
            "haystack",
            "haystack.component.run",
            {"haystack.component.type": "TransformersSimilarityRanker"},
            Kind.RERANKER,
        ),
        (
            "haystack",
            "haystack.component.run",
            {"haystack.component.type": "ChatPromptBuilder"},
            Kind.WORKFLOW,
        ),
        ("haystack", "haystack.agent.step.llm", {}, Kind.LLM),
        ("haystack", "haystack.agent.step.tool", {"haystack.tool.name": "get_weather"}, Kind.TOOL),
        ("haystack", "haystack.agent.step", {"haystack.agent.step": 1}, Kind.OTHER),
        ("gcp.vertex.agent", "call_llm", {}, Kind.LLM),
        ("gcp.vertex.agent", "execute_tool get_weather", {}, Kind.TOOL),
        ("gcp.vertex.agent", "execute_tool (merged tools)", {}, Kind.OTHER),
        ("gcp.vertex.agent", "agent_run [weather_agent]", {}, Kind.AGENT),
        ("gcp.vertex.agent", "invocation", {}, Kind.WORKFLOW),
        ("pydantic-ai", "agent run", {"gen_ai.usage.input_tokens": 330, "agent_name": "a"}, Kind.AGENT),
        ("pydantic-ai", "running tool", {"gen_ai.tool.name": "get_weather"}, Kind.TOOL),
        ("pydantic-ai", "running tools", {"tools": ["get_weather"]}, Kind.OTHER),
        ("pydantic-ai", "running 2 tools", {"tools": ["get_weather"]}, Kind.OTHER),
        ("llamaindex.opentelemetry.tracer", "FunctionTool.acall", {}, Kind.TOOL),
        ("llamaindex.opentelemetry.tracer", "OpenAI._prepare_chat_with_tools", {}, Kind.OTHER),
        ("mcp-python-sdk", "tools/call get_weather", {"mcp.method.name": "tools/call"}, Kind.TOOL),
        (
            "mcp-python-sdk",
            "prompts/get x",
            {"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "x"},
            Kind.OTHER,
        ),
        ("mcp-python-sdk", "tools/list", {"mcp.method.name": "tools/list"}, Kind.OTHER),
    ],
)
def test_names_classes_and_methods_tell_the_kind(
    scope: str, name: str, attributes: dict[str, Any], kind: Kind
) -> None:
    assert _event(scope, name, attributes).kind is kind


def test_the_names_of_a_framework_mean_nothing_in_other_scopes() -> None:
    assert _event("app", "call_llm").kind is Kind.OTHER
    assert _event("app", "agent run").kind is Kind.OTHER


def test_an_agent_of_pydantic_ai_repeats_tokens_that_do_not_count() -> None:
    event = _event(
        "pydantic-ai",
        "agent run",
        {"gen_ai.usage.input_tokens": 330, "gen_ai.usage.output_tokens": 63, "agent_name": "weather_agent"},
    )
    assert (event.kind, event.agent, event.input_tokens) == (Kind.AGENT, "weather_agent", None)


def test_an_empty_document_of_google_adk_says_that_content_is_not_captured() -> None:
    event = _event("gcp.vertex.agent", "execute_tool get_weather", {"gcp.vertex.agent.tool_call_args": "{}"})
    assert (event.tool, event.input, event.args_hash) == ("get_weather", "", 0)


def test_thoughts_that_google_adk_leaves_out_of_the_output_are_added() -> None:
    response = (
        '{"usage_metadata": {"prompt_token_count": 100, "candidates_token_count": 20,'
        ' "thoughts_token_count": 8, "cached_content_token_count": 40, "total_token_count": 128}}'
    )
    event = _event(
        "gcp.vertex.agent",
        "call_llm",
        {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gcp.vertex.agent.llm_response": response,
        },
    )
    assert (event.input_tokens, event.output_tokens) == (100, 28)
    assert (event.cache_read_tokens, event.reasoning_tokens) == (40, 8)


def test_a_completion_of_llama_index_is_told_by_its_span_events() -> None:
    start = SpanEvent(1, "LLMCompletionStartEvent", {"model_dict.model": "gpt-4o-mini", "prompt": "Why?"})
    usage = {"response.raw.usage.input_tokens": 100, "response.raw.usage.output_tokens": 20}
    end = SpanEvent(2, "LLMCompletionEndEvent", {"response.text": "Because.", **usage})
    event = _event("llamaindex.opentelemetry.tracer", "OpenAI.complete", events=[start, end])
    assert (event.kind, event.request_model) == (Kind.LLM, "gpt-4o-mini")
    assert (event.input_tokens, event.output_tokens) == (100, 20)
    assert (event.input, event.output) == ("Why?", "Because.")


def test_a_tool_call_that_llama_index_writes_as_python_is_read() -> None:
    call = "ToolCall(tool_name='get_weather', tool_kwargs={'city': 'Paris'}, tool_id='call_1')"
    event = _event(
        "llamaindex.opentelemetry.tracer", "FunctionTool.acall", {"llamaindex.step.input_summary": call}
    )
    assert (event.tool, event.tool_call_id, event.input) == ("get_weather", "call_1", '{"city":"Paris"}')


@pytest.mark.parametrize(
    ("parameters", "known"),
    [
        ('{"city": "Paris"}', '{"city":"Paris"}'),
        ('{"type": "object", "properties": {"city": {"type": "string"}}}', ""),
        ('{"city": "str"}', ""),
        ('{"city": {"type": "string", "description": "the city"}}', ""),
        ("{}", ""),
    ],
)
def test_tool_parameters_are_arguments_where_they_are_no_schema(parameters: str, known: str) -> None:
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "t", "tool.parameters": parameters}
    assert _event("openinference.instrumentation.agno", "t", attributes).input == known


def test_the_envelope_of_smolagents_is_no_argument() -> None:
    attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "get_weather",
        "input.value": '{"args": [], "sanitize_inputs_outputs": true, "kwargs": {"city": "Paris"}}',
    }
    event = _event("openinference.instrumentation.smolagents", "SimpleTool", attributes)
    assert event.input == '{"city":"Paris"}'


CLAUDE_CODE = "com.anthropic.claude_code.tracing"


def test_a_tool_of_claude_code_is_read_from_detailed_and_from_plain_traces() -> None:
    plain = {"span.type": "tool", "tool_name": "Bash", "full_command": "ls", "tool_use_id": "toolu_1"}
    output = SpanEvent(1_500_000_000, "tool.output", {"bash_command": "ls", "output": "a.py"})
    event = _event(CLAUDE_CODE, "claude_code.tool", plain, events=[output])
    assert (event.agent, event.tool, event.input, event.output) == ("claude_code", "Bash", "ls", "a.py")
    detailed = plain | {
        "tool_input": '[TOOL INPUT: Bash]\n{"command":"ls"}',
        "new_context": "[TOOL RESULT: Bash]\na.py",
    }
    event = _event(CLAUDE_CODE, "claude_code.tool", detailed)
    assert (event.input, event.output) == ('{"command":"ls"}', "a.py")
    # Only such a heading is one.
    event = _event(CLAUDE_CODE, "claude_code.tool", plain | {"tool_input": '["a"]\nb'})
    assert event.input == '["a"]\nb'


@pytest.mark.parametrize(("call_id", "errors"), [("toolu_1", 1), ("toolu_2", 0)])
def test_a_tool_failed_if_its_execution_did_by_its_call_id(call_id: str, errors: int) -> None:
    keys = {"span.type": "tool", "tool_name": "Bash", "tool_use_id": "toolu_1"}
    ran = {"span.type": "tool.execution", "tool_name": "Bash", "tool_use_id": call_id}
    tool = _event(CLAUDE_CODE, "claude_code.tool", keys)
    failed = ran | {"success": False, "error": "exit 3"}
    inner = _event(
        CLAUDE_CODE, "claude_code.tool.execution", failed, span_id="2" * 16, parent_span_id=tool.span_id
    )
    for events in ([tool, inner], [inner, tool]):
        run = assemble(events).run
        assert (run.counts.tool_calls, run.counts.tool_errors) == (1, errors)
        assert (tool.error_message == "exit 3") is bool(errors)
    # Without what failed it is not known.
    assert assemble([tool]).run.counts.tool_errors == 0
    assert (tool.error_message, tool.filled) == ("", ())


@pytest.mark.parametrize(
    ("answer", "shown", "asked"),
    [
        ({"gen_ai.response.text": '["It rains."]'}, "It rains.", ()),
        ({"gen_ai.response.text": "It rains."}, "It rains.", ()),
        (
            {
                "gen_ai.response.tool_calls": '[{"id": "call_1", "type": "function", "function": '
                '{"name": "get_weather", "arguments": "{}"}}]'
            },
            "get_weather({})",
            ("get_weather",),
        ),
    ],
)
def test_an_answer_that_sentry_tells_is_read(
    answer: dict[str, Any], shown: str, asked: tuple[str, ...]
) -> None:
    keys = {
        "sentry.op": "gen_ai.chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.messages": '[{"role": "user", "content": "Weather?"}]',
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.input_tokens.cached": 64,
        "gen_ai.usage.output_tokens": 20,
    }
    event = _event("@sentry/node", "chat gpt-4o-mini", keys | answer)
    assert (event.kind, event.convention, event.cache_read_tokens) == (Kind.LLM, "sentry", 64)
    assert (event.input, event.output) == ("Weather?", shown)
    assert tuple(request.name for request in event.tool_requests) == asked


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ({"id": "chatcmpl-1"}, "chatcmpl-1"),
        ({"id": "lc_run--2"}, ""),
        ({"id": "run-2", "response_metadata": {"id": "chatcmpl-1"}}, "chatcmpl-1"),
        ({}, ""),
    ],
)
def test_a_message_of_langchain_may_be_named_by_the_response_id(message: dict[str, Any], known: str) -> None:
    written = json.dumps({"generations": [[{"message": {"kwargs": message}}]]})
    keys = {
        "openinference.span.kind": "LLM",
        "output.value": written,
        "metadata": '{"ls_provider": "openai"}',
    }
    event = _event("@arizeai/openinference-instrumentation-langchain", "ChatOpenAI", keys)
    assert (event.response_id, event.provider) == (known, "openai")


def test_the_plumbing_of_opencode_is_no_run_and_the_calls_in_it_are() -> None:
    plumbing = _event("opencode", "sql.execute", {"db.statement": "select 1"})
    assert assemble([plumbing]).run.setup_only
    keys = {
        "ai.operationId": "ai.streamText.doStream",
        "ai.model.id": "gpt-4o-mini",
        "ai.telemetry.metadata.sessionId": "ses_1",
    }
    call = _event("opencode", "ai.streamText.doStream", keys, span_id="2" * 16, parent_span_id="1" * 16)
    run = assemble([plumbing, call]).run
    assert (run.setup_only, run.counts.llm_calls, run.session_id) == (False, 1, "ses_1")


def test_copilots_own_agent_has_a_name_and_others_keep_theirs() -> None:
    keys = {"gen_ai.operation.name": "invoke_agent"}
    assert _event("github.copilot", "invoke_agent", keys).agent == "github-copilot"
    assert _event("github.copilot", "invoke_agent reviewer", keys).agent == "reviewer"
    named = _event("github.copilot", "invoke_agent", keys | {"gen_ai.agent.name": "reviewer"})
    assert named.agent == "reviewer"
    assert _event("github.copilot", "chat x", {"gen_ai.operation.name": "chat"}).agent == ""


def test_messages_that_azure_writes_whole_into_span_events_are_read() -> None:
    events = [
        SpanEvent(1_100_000_000, "gen_ai.user.message", {"gen_ai.event.content": '{"content": "Weather?"}'}),
        SpanEvent(
            1_900_000_000,
            "gen_ai.choice",
            {
                "gen_ai.event.content": json.dumps(
                    {
                        "finish_reason": "tool_calls",
                        "index": 0,
                        "message": {
                            "content": "",
                            "tool_calls": [
                                {
                                    "id": "call_1",
                                    "type": "function",
                                    "function": {"name": "get_weather", "arguments": "{}"},
                                }
                            ],
                        },
                    }
                )
            },
        ),
    ]
    keys = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.thread.id": "thread_1",
    }
    event = _event("azure.ai.inference", "chat gpt-4o-mini", keys, events=events)
    assert (event.input, event.output) == ("Weather?", "get_weather({})")
    assert (event.finish_reasons, event.session_id) == (("tool_calls",), "thread_1")
    assert [request.id for request in event.tool_requests] == ["call_1"]


def test_vllm_tells_a_call_by_its_usage() -> None:
    keys = {
        "gen_ai.response.model": "Qwen/Qwen3-8B",
        "gen_ai.request.id": "cmpl-1",
        "gen_ai.request.max_tokens": 64,
        "gen_ai.usage.prompt_tokens": 100,
        "gen_ai.usage.completion_tokens": 20,
        "gen_ai.latency.time_to_first_token": 0.25,
        "gen_ai.latency.e2e": 1.0,
    }
    event = _event("vllm.llm_engine", "llm_request", keys)
    assert (event.kind, event.input_tokens, event.output_tokens, event.ttft_ms) == (Kind.LLM, 100, 20, 250.0)


def test_roles_that_are_left_of_messages_say_nothing() -> None:
    keys = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.0.message.role": "user",
        "llm.output_messages.0.message.role": "assistant",
    }
    event = _event("openinference.instrumentation.langchain", "ChatBedrock", keys)
    assert (event.input_bytes, event.output_bytes) == (None, None)


def test_openlits_javascript_leaves_the_cache_out_of_what_anthropic_read() -> None:
    keys = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 50,
        "gen_ai.usage.cache_creation.input_tokens": 30,
    }
    for library, read in (("anthropic", 180), ("bedrock", 180), ("openai", 100)):
        assert _event(f"@openlit/instrumentation-{library}", "chat x", keys).input_tokens == read


@pytest.mark.parametrize("written", ['{"city": "Paris"}', '"{\\"city\\": \\"Paris\\"}"'])
def test_arguments_that_were_written_twice_are_those_of_the_tool_that_ran(written: str) -> None:
    keys = {
        "openinference.span.kind": "LLM",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": written,
    }
    asked = _event("ai", "ai.generateText.doGenerate", keys)
    tool = {"openinference.span.kind": "TOOL", "tool.name": "get_weather", "input.value": '{"city":"Paris"}'}
    ran = _event("ai", "ai.toolCall", tool)
    assert [request.args_hash for request in asked.tool_requests] == [ran.args_hash]
    assert asked.output == 'get_weather({"city": "Paris"})'


def test_what_deepeval_tells_of_a_call_is_priced_as_it_says() -> None:
    told = _event(
        "app",
        "answer",
        {
            "confident.span.type": "llm",
            "confident.span.input": '[{"role": "user", "content": "Weather in Paris?"}]',
            "confident.span.output": "18C",
            "confident.llm.model": "my-model",
            "confident.llm.input_token_count": 100,
            "confident.llm.output_token_count": 20,
            "confident.llm.cost_per_input_token": 0.000001,
            "confident.llm.cost_per_output_token": 0.000002,
            "confident.trace.thread_id": "thread-1",
        },
    )
    assert (told.kind, told.convention, told.request_model) == (Kind.LLM, "deepeval", "my-model")
    assert (told.input, told.output, told.session_id) == ("Weather in Paris?", "18C", "thread-1")
    assert (told.input_tokens, told.output_tokens) == (100, 20)
    assert (told.cost_usd, told.cost_source) == (Decimal("0.00014"), "reported")


def test_a_call_of_deepeval_whose_prices_are_told_by_half_costs_what_the_list_says() -> None:
    prices = {"confident.llm.cost_per_input_token": 0.000001, "confident.llm.input_token_count": 100}
    told = _event(
        "app", "answer", {"confident.span.type": "llm", "confident.llm.model": "gpt-4o-mini"} | prices
    )
    assert told.cost_source != "reported"


@pytest.mark.parametrize(
    ("scope", "name", "attributes", "kind"),
    [
        ("logfire.openai_agents", "Guardrail {name!r} {triggered=}", {"name": "polite"}, Kind.GUARDRAIL),
        ("logfire.openai_agents", "MCP: list tools from server {server}", {}, Kind.OTHER),
        ("monocle_apptrace", "search", {"span.type": "retrieval"}, Kind.RETRIEVER),
        ("monocle_apptrace", "ask", {"span.type": "agentic.tool.invocation"}, Kind.TOOL),
        ("my.app", "step", {"gen_ai.span.kind": "CHAIN"}, Kind.WORKFLOW),
        ("my.app", "chat", {"gen_ai.span.kind": "CHAIN", "gen_ai.operation.name": "chat"}, Kind.LLM),
        ("traceai_openai", "ChatCompletion", {"fi.span.kind": "LLM"}, Kind.LLM),
        (
            "openlit.instrumentation.openai_agents",
            "invoke_agent",
            {"gen_ai.operation.name": "invoke_agent"},
            Kind.WORKFLOW,
        ),
    ],
)
def test_instrumentations_tell_kinds_in_their_own_words(
    scope: str, name: str, attributes: dict[str, Any], kind: Kind
) -> None:
    assert _event(scope, name, attributes).kind == kind


def test_a_tool_of_monocle_is_the_entity_that_is_one() -> None:
    entities = {
        "entity.1.type": "tool.mcp",
        "entity.1.name": "ask",
        "entity.2.type": "agent.mcp",
        "entity.2.name": "a",
    }
    events = [
        SpanEvent(1, "data.input", {"input": '{"city": "Paris"}'}),
        SpanEvent(2, "data.output", {"response": "18C"}),
    ]
    told = _event(
        "monocle_apptrace", "call", {"span.type": "agentic.mcp.invocation"} | entities, events=events
    )
    assert (told.tool, told.agent, told.input, told.output) == ("ask", "a", '{"city":"Paris"}', "18C")


@pytest.mark.parametrize(("told", "status"), [("Error", "error"), ("Indeterminate", "ok"), ("Success", "ok")])
def test_a_session_of_agentops_ends_as_its_program_said(told: str, status: str) -> None:
    attributes = {"agentops.span.kind": "session", "agentops.session.end_state": told}
    assert _event("agentops", "weather_agent.session", attributes).status == status


def test_a_tool_that_agentops_tells_below_an_answer_was_only_asked_for() -> None:
    asked = {"tool.name": "ask", "tool.parameters": "{}", "tool.call.id": "call_1"}
    scope = "agentops.instrumentation.providers.openai.wrappers.chat"
    assert _event(scope, "tool_call.ask", asked).kind == Kind.OTHER


def test_a_refused_call_of_semantic_kernel_is_a_call() -> None:
    keys = {
        "gen_ai.operation.name": "chat.completions",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "error.type": "HttpOperationException",
    }
    event = _event(
        "Microsoft.SemanticKernel.Diagnostics", "chat.completions gpt-4o-mini", keys, status_code=2
    )
    assert (event.kind, event.status, event.error_type) == (Kind.LLM, "error", "HttpOperationException")
