"""An agent whose SDKs tell of their calls by OTLP while the proxy sees them too: a call, a stream, a retry.

Arguments: which SDK, where OTLP is taken, the SDK's base URL. Prints the id of its trace.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

HELLO: Any = [{"role": "user", "content": "hello"}]


def anthropic_calls(base: str) -> None:
    """The SDK tells by itself, and passes its context on."""
    import anthropic

    client = anthropic.Anthropic(base_url=base, api_key="sk-ant-test")
    asked: Any = {"max_tokens": 9, "messages": HELLO}
    client.messages.create(model="claude-sonnet-4-6", **asked)
    with client.messages.stream(model="claude-sonnet-4-6", **asked) as stream:
        stream.get_final_message()
    client.messages.create(model="busy-at-first", **asked)


def openai_calls(base: str) -> None:
    """OpenInference tells of them; the context stays here."""
    import openai
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="sk-test")
    client.chat.completions.create(model="own-ids", messages=HELLO)
    list(
        client.chat.completions.create(
            model="own-ids", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    client.chat.completions.create(model="busy-at-first", messages=HELLO)


def main(sdk: str, otlp: str, base: str) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp)))
    trace.set_tracer_provider(provider)
    kind = {"gen_ai.operation.name": "invoke_agent"}
    with trace.get_tracer("agent").start_as_current_span("agent", attributes=kind) as span:
        {"anthropic": anthropic_calls, "openai": openai_calls}[sdk](base)
    provider.shutdown()
    print(f"{span.get_span_context().trace_id:032x}")


if __name__ == "__main__":
    main(*sys.argv[1:])
