// Runs that are sent to the collector as an instrumented program would send them: OTLP over HTTP as JSON.

import { createHash, randomBytes } from "node:crypto";

/** Ids that are new each time, or the same each time for the same seed. */
function ids(seed) {
  let number = 0;
  return (size) => (seed ? createHash("sha256").update(`${seed} ${number++}`).digest("hex").slice(0, 2 * size) : randomBytes(size).toString("hex"));
}

const text = (key, value) => ({ key, value: { stringValue: value } });
const number = (key, value) => ({ key, value: { intValue: String(value) } });

/** A run that is sent piece by piece. Times are milliseconds since the epoch. */
export class Run {
  constructor(name, { at = Date.now() - 60_000, service = "page-test", session = "", seed = "" } = {}) {
    this.newId = ids(seed);
    this.id = this.newId(16);
    this.root = this.newId(8);
    this.name = name;
    this.service = service;
    this.session = session;
    this.at = at;
    this.next = at;
    this.spans = [];
  }

  /** A tool call. */
  tool(tool, input, output, { took = 20, failed = false } = {}) {
    return this.#span("TOOL", tool, took, failed, [text("tool.name", tool), text("input.value", input), text("output.value", output)]);
  }

  /** A model call that reads a whole conversation, and says when its first token came. */
  chat(model, messages, output, { took = 200, firstToken = 50, reasoning = "" } = {}) {
    const read = messages.flatMap(([role, content], place) => [text(`llm.input_messages.${place}.message.role`, role), text(`llm.input_messages.${place}.message.content`, content)]);
    const said = reasoning
      ? [text("llm.output_messages.0.message.contents.0.message_content.type", "reasoning"), text("llm.output_messages.0.message.contents.0.message_content.text", reasoning),
        text("llm.output_messages.0.message.contents.1.message_content.type", "text"), text("llm.output_messages.0.message.contents.1.message_content.text", output)]
      : [text("llm.output_messages.0.message.content", output)];
    this.#span("LLM", "chat", took, false, [
      text("llm.model_name", model), ...read, text("llm.output_messages.0.message.role", "assistant"), ...said,
      number("llm.token_count.prompt", 50 * messages.length), number("llm.token_count.completion", 20),
    ]);
    const span = this.spans.at(-1);
    span.events = [{ name: "First Token Stream Event", timeUnixNano: `${Number(span.startTimeUnixNano.slice(0, -6)) + firstToken}000000` }];
    return this;
  }

  /** A model call. */
  llm(model, input, output, { took = 200 } = {}) {
    return this.#span("LLM", "chat", took, false, [
      text("llm.model_name", model), text("input.value", input), text("output.value", output),
      text("llm.input_messages.0.message.role", "user"), text("llm.input_messages.0.message.content", input),
      text("llm.output_messages.0.message.role", "assistant"), text("llm.output_messages.0.message.content", output),
      number("llm.token_count.prompt", 120), number("llm.token_count.completion", 30),
    ]);
  }

  /** A model call that reads one message of several parts, each with its attributes. */
  parts(model, parts, output) {
    const read = parts.flatMap((part, place) => Object.entries(part).map(([key, value]) => text(`llm.input_messages.0.message.contents.${place}.message_content.${key}`, value)));
    return this.#span("LLM", "chat", 200, false, [
      text("llm.model_name", model), text("llm.input_messages.0.message.role", "user"), ...read,
      text("llm.output_messages.0.message.role", "assistant"), text("llm.output_messages.0.message.content", output),
    ]);
  }

  /** The span that all others are below; with it the run is over. */
  end() {
    this.spans.push(this.#made(this.root, "", "AGENT", this.name, this.at, this.next, false, [text("input.value", "go"), text("output.value", "done")]));
    return this;
  }

  /** Sends what has not been sent yet. */
  async send(endpoint) {
    for (let from = 0; from < this.spans.length; from += 2000) {
      const spans = this.spans.slice(from, from + 2000);
      const body = { resourceSpans: [{ resource: { attributes: [text("service.name", this.service)] }, scopeSpans: [{ scope: { name: "openinference.instrumentation.test" }, spans }] }] };
      const response = await fetch(`${endpoint}/v1/traces`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
    }
    this.spans = [];
    return this;
  }

  #span(kind, name, took, failed, attributes) {
    this.spans.push(this.#made(this.newId(8), this.root, kind, name, this.next, this.next + took, failed, attributes));
    this.next += took + 1;
    return this;
  }

  #made(spanId, parentSpanId, kind, name, from, until, failed, attributes) {
    return {
      traceId: this.id, spanId, parentSpanId, name, kind: 1,
      startTimeUnixNano: `${from}000000`, endTimeUnixNano: `${until}000000`,
      attributes: [text("openinference.span.kind", kind), ...(this.session ? [text("session.id", this.session)] : []), ...attributes],
      status: failed ? { code: 2, message: "it broke" } : {},
    };
  }
}

/** An agent that asks its tool for the same again and again. */
export function looping(name, times = 6) {
  const run = new Run(name);
  for (let turn = 0; turn < times; turn++) {
    run.llm("gpt-4o-mini", "What is the weather in Paris?", "I shall look it up.");
    run.tool("web_search", '{"q": "weather in Paris"}', "Paris: 18 degrees, cloudy, wind from the west at 12 km/h");
  }
  return run.end();
}
