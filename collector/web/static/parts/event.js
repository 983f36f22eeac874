// @ts-check
/** The panel beside a run: one event, what went in and came out, what it cost, and why it reads so. */

import { html } from "../vendor/preact.js";
import { address, get } from "../lib/api.js";
import { duration, line, money, whole } from "../lib/format.js";
import { choose } from "../lib/router.js";
import { nodeOf } from "../lib/tree.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "./asked.js";
import { Badge, Kind } from "./badges.js";
import { Content } from "./content.js";
import { Copy, asCurl } from "./copy.js";
import { Mapping } from "./mapping.js";
import { Prompt } from "./prompt.js";
import { Uncaptured } from "./uncaptured.js";

/** @type {[string, string][]} */
const VIEWS = [["content", "Content"], ["details", "Details"], ["mapping", "Why"], ["raw", "Raw"]];

/** @param {string} path @param {string} id */
const placeOf = (path, id) => `${path}/events/${encodeURIComponent(id)}`;

/** The entry; of a call that has ended its end, which tells all of it. @param {string} path @param {string} id @param {AbortSignal} signal */
async function told(path, id, signal) {
  if (id.endsWith(".start") && !id.endsWith(".run.start")) {
    try {
      return await get(placeOf(path, id.replace(/start$/, "end")), { alone: true }, signal);
    } catch (error) {
      if (/** @type {any} */ (error).status !== 404) throw error;
    }
  }
  return get(placeOf(path, id), { alone: true }, signal);
}

/** @param {{ run: any, path: string, id: string, view: string, find: string }} props */
export function EventPanel({ run, path, id, view, find }) {
  const asked = useAsked((signal) => told(path, id, signal), [id, run.counts.spans]);
  const event = asked.data;
  const place = placeOf(path, event?.event_id ?? id);
  return html`
    <aside class="panel" aria-label="Event">
      <div class="panel-head">
        <h2>${event ? html`<${Kind} kind=${event.kind} /> ${line(event.tool || event.model || event.name, 60)}` : "Event"}</h2>
        <button type="button" class="quiet" aria-label="Close the event" onClick=${() => choose({ event: null, warning: null, panel: null })}>✕</button>
      </div>
      ${asked.error?.status === 404 ? html`<p class="dim">This span is no event by itself; it stands as it was received.</p><${Mapping} run=${run.run_id} span=${id.split(".")[0]} />`
        : !event ? html`<${Waiting} asked=${asked} />` : html`
        <p><${Badge} state=${event.status} /> ${duration(event.latency_ms)}${event.ttft_ms !== null ? `, first token after ${duration(event.ttft_ms)}` : ""}${event.cost_usd !== null ? `, ${money(event.cost_usd)}` : ""}
          <${Copy} text=${asCurl(address(place))}>Copy as curl</${Copy}> <${Copy} text=${JSON.stringify(event, null, 2)}>Copy JSON</${Copy}></p>
        ${event.error && html`<p class="bad">${[event.error.type, event.error.message].filter(Boolean).join(": ")}</p>`}
        <div class="tabs small" role="tablist" aria-label="Views of the event">
          ${VIEWS.map(([name, label]) => html`<button type="button" role="tab" aria-selected=${view === name} onClick=${() => choose({ panel: name }, { replace: true })}>${label}</button>`)}
        </div>
        ${view === "content" && event.kind === "LLM" && !event.input && !event.output && html`<${Uncaptured} />`}
        ${view === "content" && event.kind === "LLM" && event.span_id && html`<${Prompt} path=${path} place=${place} node=${nodeOf(event.event_id)} version=${run.counts.spans} find=${find}><${Sides} event=${event} find=${find} /></${Prompt}>`}
        ${view === "content" && event.kind !== "LLM" && html`<${Sides} event=${event} find=${find} />`}
        ${view === "details" && html`<${Details} event=${event} />`}
        ${view === "raw" && html`<${Raw} place=${place} span=${event.span_id} />`}
        ${view === "mapping" && html`<${Mapping} run=${event.run_id} span=${event.span_id} />`}`}
    </aside>`;
}

/** What went in and came out, as far as the event keeps it. @param {{ event: any, find: string }} props */
const Sides = ({ event, find }) => html`<h3>Input</h3><${Content} value=${event.input} find=${find} /><h3>Output</h3><${Content} value=${event.output} find=${find} />`;

/** What the event was made of. @param {{ place: string, span: string | null }} props */
function Raw({ place, span }) {
  const asked = useAsked(async (signal) => (span ? get(place + "/raw", {}, signal) : null), [place]);
  if (!span) return html`<p class="dim">The run itself is made of its spans, not of one.</p>`;
  if (!asked.data) return html`<${Waiting} asked=${asked} />`;
  return html`<${Content} value=${JSON.stringify(asked.data)} /><p><${Copy} text=${asCurl(address(place + "/raw"))}>Copy as curl</${Copy}> <${Copy} text=${JSON.stringify(asked.data, null, 2)}>Copy JSON</${Copy}></p>`;
}

/** @param {{ event: any }} props */
function Details({ event }) {
  const usage = event.usage ?? {};
  const rows = [
    ["Name", event.name], ["Agent", event.agent], ["Provider", event.provider], ["Model", event.model], ["Operation", event.operation],
    ["Response", event.response_id], ["Finish reasons", event.finish_reasons?.join(", ")],
    ["Tokens read", usage.input], ["of them from cache", usage.cache_read], ["written to cache", usage.cache_write],
    ["Tokens written", usage.output], ["of them reasoning", usage.reasoning],
    ["Cost", event.cost_usd === null ? "unknown" : `${money(event.cost_usd)} (${event.cost_source ?? "computed"}${event.price_version ? `, prices of ${event.price_version}` : ""})`],
    ["Service tier", event.service_tier], ["HTTP status", event.http_status],
    ["Tool call", event.tool_call_id], ["Handoff", event.handoff && `${event.handoff.from ?? "?"} → ${event.handoff.to ?? "?"} (${event.handoff.source})`],
    ["Offered tools", event.offered_tools?.join(", ")], ["Asked for", event.tool_requests?.map((/** @type {any} */ one) => one.name).join(", ")],
    ["Prompt", event.prompt && [event.prompt.name, event.prompt.version].filter(Boolean).join(" ")],
    ...Object.entries(event.parameters ?? {}), ...Object.entries(event.metadata ?? {}),
    ["Tags", event.tags?.join(", ")], ["Convention", event.convention], ["Told twice by", event.duplicate_of],
    ["Span", event.span_id], ["Below", event.parent_span_id],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl class="details">${rows.map(([name, value]) => html`<dt>${name}</dt><dd>${typeof value === "number" ? whole(value) : value}</dd>`)}</dl>`;
}
