"""OpenLIT: GenAI keys from its own instrumentations; what they get wrong."""

from mappers.conventions.base import Convention, Quirk
from mappers.model import Kind

_CACHE = "gen_ai.usage.cache_read.input_tokens"

CONVENTION = Convention(
    id="openlit",
    priority=108,
    scopes=(r"^@?openlit\b",),
    fields={
        "agent": ["gen_ai.agent.name"],
        "total_tokens": ["gen_ai.usage.total_tokens", "gen_ai.client.token.usage"],
        "tool_requests": ["gen_ai.response.tool_calls"],
    },
    quirks=(
        # The Agents SDK's tasks and turns are told as agents without a name.
        Quirk(
            scope=r"^openlit\.instrumentation\.openai_agents@",
            name=r"^invoke_agent$",
            lacks="gen_ai.agent.name",
            when=Kind.AGENT,
            kind=Kind.WORKFLOW,
        ),
        # What Anthropic and Bedrock count is passed on as it is, and added up.
        Quirk(
            scope=r"^(openlit\.instrumentation\.|@openlit/instrumentation-)(anthropic|bedrock)@",
            input_excludes_cache=True,
            total_is_own_sum=True,
        ),
        # Where a stream tells no usage its tokens are guessed; only what the provider counted has cache keys.
        Quirk(
            scope=r"^openlit\.instrumentation\.openai@",
            lacks=_CACHE,
            when=Kind.LLM,
            usage_is_estimate=True,
        ),
        # Old versions guess for every stream, and only streams have this key.
        Quirk(
            scope=r"^openlit\.otel\.tracing@",
            has="gen_ai.server.time_per_output_token",
            when=Kind.LLM,
            usage_is_estimate=True,
        ),
        # Nodes of a graph that are no agents.
        Quirk(
            scope=r"^openlit\.instrumentation\.lang(chain|graph)@",
            name=r"^invoke_agent (route_to_\w+|model|tools|agent)$",
            when=Kind.AGENT,
            kind=Kind.WORKFLOW,
        ),
    ),
)
