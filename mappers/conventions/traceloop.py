"""Traceloop / OpenLLMetry in its three generations.

0.10 wrote `llm.*`, 0.33 to 0.5x flattened `gen_ai.prompt.N`, 0.62 the GenAI conventions of 1.37; the
`traceloop.*` keys of its decorators stayed.
"""

from mappers.call_details import parameters_below, tools_in_turn
from mappers.conventions.base import (
    Below,
    Convention,
    EventMessages,
    Flat,
    KindByName,
    KindByValue,
    NameMatch,
    Quirk,
)
from mappers.model import Kind

CONVENTION = Convention(
    id="traceloop",
    priority=100,
    keys=(
        "traceloop.span.kind",
        "traceloop.workflow.name",
        "traceloop.entity.name",
        "llm.request.type",
        "llm.vendor",
    ),
    # Only its own packages have plain 0.x.y versions; the OpenTelemetry project's end in b1, b2, …
    scopes=(r"^opentelemetry\.instrumentation\.[\w.]+@0\.\d+\.\d+$", r"^@traceloop/", r"^traceloop\."),
    kinds=(
        KindByValue("traceloop.span.kind", {"tool": Kind.TOOL}),
        KindByValue(
            "traceloop.span.kind",
            {
                "workflow": Kind.WORKFLOW,
                "task": Kind.WORKFLOW,
                "agent": Kind.AGENT,
                "handoff": Kind.HANDOFF,
                "guardrail": Kind.GUARDRAIL,
            },
            order=120,
        ),
        KindByValue(
            "llm.request.type",
            {"chat": Kind.LLM, "completion": Kind.LLM, "embedding": Kind.EMBEDDING, "rerank": Kind.RERANKER},
            order=130,
        ),
        # Its packages for vector stores say nothing else of what a span is.
        KindByName(
            Kind.RETRIEVER,
            r"(?:chroma|qdrant|lancedb|milvus|pinecone|marqo)\."
            r"(?:(?:query|hybrid_search|search|recommend|discover)(?:_\w+)?|scroll|retrieve)$"
            r"|db\.weaviate\.(?:gql\.(?:query\.)?get\.do|collections\.query\.(?:get|fetch_objects))$",
            order=131,
        ),
    ),
    fields={
        "agent": [
            "gen_ai.handoff.from_agent",
            "traceloop.association.properties.lc_agent_name",
            "gen_ai.agent.name",
            NameMatch(r"(.+)\.(?:agent|team)$"),
        ],
        "session_id": [
            "traceloop.association.properties.session_id",
            "traceloop.association.properties.thread_id",
        ],
        "user_id": ["traceloop.association.properties.user_id"],
        "metadata": [Below("traceloop.association.properties")],
        "operation": ["llm.request.type"],
        "provider": ["llm.vendor"],
        "response_model": ["llm.response.model"],
        "request_model": ["llm.request.model"],
        "finish_reasons": ["llm.completions.0.finish_reason"],
        "streaming": ["llm.is_streaming"],
        "input_tokens": ["llm.usage.prompt_tokens"],
        "output_tokens": ["llm.usage.completion_tokens"],
        "total_tokens": ["llm.usage.total_tokens"],
        "parameters": [
            parameters_below("llm.", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")
        ],
        "offered_tools": [tools_in_turn("llm.request.functions.{}.name")],
        "prompt_name": ["traceloop.prompt.key"],
        "prompt_version": ["traceloop.prompt.version"],
        "documents": [EventMessages(("db.query.result", "db.search.result"))],
        "tool": ["gen_ai.tool.name", "tool.name", "traceloop.entity.name"],
        "handoff_to": ["gen_ai.handoff.to_agent"],
        "arguments": ["gen_ai.tool.call.arguments", "traceloop.entity.input", "tool.arguments"],
        "result": ["gen_ai.tool.call.result", "traceloop.entity.output"],
        "input_messages": [Flat("llm.prompts")],
        "input": ["traceloop.entity.input"],
        "output_messages": [Flat("llm.completions")],
        "output": ["traceloop.entity.output"],
    },
    quirks=(
        Quirk(scope=r"\.bedrock@", input_excludes_cache=True, total_is_own_sum=True),
        # It tells the making of a client, and a look at a model's description, as completions.
        Quirk(
            scope=r"\.watsonx@",
            name=r"watsonx\.(model_init|get_details)$",
            when=Kind.LLM,
            kind=Kind.OTHER,
            setup=True,
        ),
        Quirk(scope=r"\.(google_generativeai|vertexai)@", output_excludes_reasoning=True),
        # The CrewAI package calls crews and tasks agents too.
        Quirk(scope=r"\.crewai\b", name=r"(^crewai\.workflow|\.task)$", when=Kind.AGENT, kind=Kind.WORKFLOW),
        # A team of Agno leads its members.
        Quirk(scope=r"\.agno@", name=r"\.team$", when=Kind.WORKFLOW, kind=Kind.AGENT),
        # A LlamaIndex tool run is told as a task.
        Quirk(scope=r"\.llamaindex@", has="tool.name", when=Kind.WORKFLOW, kind=Kind.TOOL),
    ),
)
