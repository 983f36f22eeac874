// @ts-check
/** What is shown before the first run: what to set, and what has come so far. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { plural } from "../lib/format.js";
import { useAsked } from "../lib/use.js";
import { Copy } from "./copy.js";

/** @param {any} status */
function soFar(status) {
  const doors = Object.values(status.receivers ?? {});
  const sum = (/** @type {string} */ name) => doors.reduce((all, door) => all + (door.traces?.[name] ?? 0) + (door.logs?.[name] ?? 0), 0);
  const requests = sum("requests");
  if (!requests) return "nothing has come yet";
  const parts = [`received ${plural(requests, "request")}`, `${plural(sum("accepted"), "item")} accepted`];
  if (sum("bad_requests")) parts.push(`${plural(sum("bad_requests"), "request")} could not be read`);
  if (sum("refused_requests")) parts.push(`${plural(sum("refused_requests"), "request")} refused: the collector is full or its key is missing`);
  if (sum("rejected")) parts.push(`${plural(sum("rejected"), "item")} rejected as damaged`);
  if (status.stored?.spans && !status.stored?.runs) parts.push(`${plural(status.stored.spans, "span")} stored, but none of them makes a run`);
  if (status.stored?.runs) parts.push("only set-up so far: no model or tool was called yet");
  return parts.join(", ");
}

export function Welcome() {
  const status = useAsked((signal) => get("/status", {}, signal), [], { everyMs: 1000 });
  const endpoint = status.data?.endpoints?.http ?? "http://127.0.0.1:4318";
  const proxy = status.data?.endpoints?.proxy ?? "http://127.0.0.1:31300";
  const lines = `export OTEL_EXPORTER_OTLP_ENDPOINT=${endpoint}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nexport OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true`;
  const base = `export OPENAI_BASE_URL=${proxy}/openai/v1\nexport ANTHROPIC_BASE_URL=${proxy}/anthropic`;
  return html`
    <div class="empty welcome">
      <h2>Waiting for the first run</h2>
      <p role="status" class="live">● ${status.data ? soFar(status.data) : "asking the collector…"}</p>
      <p>Point an instrumented program here:</p>
      <pre tabindex="0">${lines}</pre>
      <${Copy} text=${lines}>Copy</${Copy}>
      <p>Or send its LLM calls through the proxy, with no instrumentation at all:</p>
      <pre tabindex="0">${base}</pre>
      <${Copy} text=${base}>Copy</${Copy}>
      <p><code>eddyline demo</code> plays a captured agent that goes round in circles; <code>eddyline doctor</code> finds out why nothing arrives.</p>
    </div>`;
}
