// As instrumented.py: SDKs that tell of their calls by OTLP while the proxy sees them too. Arguments: which SDK, where
// OTLP is taken, the SDK's base URL. Prints the id of its trace.
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAI } from "@ai-sdk/openai";
import { OpenTelemetry } from "@ai-sdk/otel";
import { trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { generateText, registerTelemetry, streamText } from "ai";

const [sdk, otlp, base] = process.argv.slice(2);
const provider = new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: otlp }))],
});
provider.register();
const messages = [{ role: "user", content: "hello" }];

const agents = {
  // The SDK tells by itself, and passes its context on.
  anthropic: async () => {
    const client = new Anthropic({ baseURL: base, apiKey: "sk-ant-test" });
    const asked = { max_tokens: 9, messages };
    await client.messages.create({ model: "claude-sonnet-4-6", ...asked });
    await client.messages.stream({ model: "claude-sonnet-4-6", ...asked }).finalMessage();
    await client.messages.create({ model: "busy-at-first", ...asked });
  },
  // The framework tells of them; the context stays here.
  ai: async () => {
    registerTelemetry(new OpenTelemetry());
    const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "sk-test" });
    await generateText({ model: openai.chat("own-ids"), messages });
    await streamText({ model: openai.chat("own-ids"), messages }).text;
    await generateText({ model: openai.chat("own-ids"), messages });
  },
};

const attributes = { "gen_ai.operation.name": "invoke_agent" };
const traceId = await trace.getTracer("agent").startActiveSpan("agent", { attributes }, async (span) => {
  await agents[sdk]();
  span.end();
  return span.spanContext().traceId;
});
await provider.shutdown();
console.log(traceId);
