// @ts-check
/** What was said and done, in order: calls of models, the tools they asked for, and handoffs between agents. A step
 * that only repeats the one before is folded. */

import { html, useMemo, useState } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { count, duration, line, money } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { choose } from "../lib/router.js";
import { usePages } from "../lib/use.js";
import { Waiting } from "./asked.js";
import { Badge, Kind } from "./badges.js";
import { Windowed } from "./windowed.js";

const FIRST_PAGE = 200;
const PAGE = 1000;
const STEPS = new Set(["LLM", "TOOL", "HANDOFF", "RETRIEVER", "EMBEDDING", "RERANKER"]);
const FOLDED_FROM = 3;

/** @typedef {{ event: any, times?: number, number: number }} Step */

/** @param {{ run: any, path: string, version: any, evidence: Set<string>, event: string }} props */
export function Transcript({ run, path, version, evidence, event }) {
  const [open, setOpen] = useState(/** @type {Set<string>} */ (new Set()));
  const asked = usePages((cursor, signal) => get(path + "/events", { fields: "io", limit: cursor ? PAGE : FIRST_PAGE, cursor }, signal), [path], [version]);
  const steps = useMemo(() => folded(told(asked.data ?? []), open), [asked.data, open]);
  const at = steps.findIndex((step) => step.event.event_id === event);
  const move = (/** @type {number} */ by) => steps.length && choose({ event: steps[Math.max(0, Math.min(steps.length - 1, at + by))].event.event_id }, { replace: true });
  const toggle = (/** @type {Step} */ step) => {
    const next = new Set(open);
    next.add(step.event.event_id);
    setOpen(next);
  };
  useKeys({
    j: ["next step", () => move(1)], ArrowDown: ["next step", () => move(1)],
    k: ["step before", () => move(-1)], ArrowUp: ["step before", () => move(-1)],
    l: ["open what is folded", () => at >= 0 && steps[at].times && toggle(steps[at])],
    e: ["next error", () => {
      const next = steps.findIndex((step, index) => index > at && step.event.status === "error");
      if (next >= 0) choose({ event: steps[next].event.event_id }, { replace: true });
    }],
  });
  if (!asked.data) return html`<${Waiting} asked=${asked} />`;
  if (!steps.length && asked.complete) return html`<p class="dim">${run.status === "running" ? "No call has ended yet." : "No model and no tool was called in this run."}</p>`;
  return html`<${Windowed} rows=${steps} height=${78} label="Transcript" active=${at} class="grid-transcript"
    keyOf=${(/** @type {Step} */ step) => step.event.event_id} onSelect=${(/** @type {number} */ index) => choose({ event: steps[index].event.event_id }, { replace: true })}
    render=${(/** @type {Step} */ step) => html`<${Shown} step=${step} marked=${evidence.has(step.event.event_id)} open=${() => toggle(step)} />`} />`;
}

/** The entries that tell of steps: a call stands where it ended; one that has not, where it began. @param {any[]} entries */
function told(entries) {
  const steps = entries.filter((one) => STEPS.has(one.kind) && !one.duplicate_of && one.type !== "retry_triggered");
  const ended = new Set(steps.filter((one) => one.event_id.endsWith(".end")).map((one) => one.event_id.slice(0, -4)));
  return steps.filter((one) => !one.event_id.endsWith(".start") || !ended.has(one.event_id.slice(0, -6)));
}

/** Whether two steps say the same. @param {any} one @param {any} other */
const alike = (one, other) => one.kind === other.kind && one.tool === other.tool && one.name === other.name && one.input === other.input && one.output === other.output && one.status === other.status;

/**
 * Steps with runs of the same folded to the first of them. What comes between two calls of a tool is often only the
 * model's word that asks for it again, so every second step may repeat as well.
 * @param {any[]} events @param {Set<string>} open @returns {Step[]}
 */
function folded(events, open) {
  /** @type {Step[]} */
  const steps = [];
  for (let at = 0; at < events.length; ) {
    let end = at + 1;
    while (end < events.length && alike(events[at], events[end])) end++;
    if (end - at >= FOLDED_FROM && !open.has(events[at].event_id)) steps.push({ event: events[at], times: end - at, number: at });
    else for (let one = at; one < end; one++) steps.push({ event: events[one], number: one });
    at = end;
  }
  return steps;
}

/** @param {{ step: Step, marked: boolean, open: () => void }} props */
function Shown({ step, marked, open }) {
  const { event, times } = step;
  const call = event.kind === "LLM";
  const asks = call && event.tool_requests?.length ? `asks for ${event.tool_requests.map((/** @type {any} */ one) => one.name).join(", ")}` : "";
  const title = event.handoff ? `${event.handoff.from ?? "?"} → ${event.handoff.to ?? "?"}` : event.tool || event.model || event.name;
  return html`
    <div role="gridcell" class=${`step ${event.kind.toLowerCase()} ${event.status}`}>
      <p class="what">${marked && html`<b class="warn" title="evidence of a warning">▲ </b>`}<${Kind} kind=${event.kind} /> <strong>${line(title, 60)}</strong>
        ${event.agent && html`<span class="dim">${line(event.agent, 30)}</span>`}
        ${event.status !== "ok" && html`<${Badge} state=${event.status} />`}
        ${times && html`<button type="button" class="quiet" onClick=${(/** @type {Event} */ click) => {
          click.stopPropagation();
          open();
        }}>× ${times} the same</button>`}
        <span class="grow"></span><span class="dim">${duration(event.latency_ms)}${event.usage?.total ? ` · ${count(event.usage.total)} tokens` : ""}${event.cost_usd ? ` · ${money(event.cost_usd)}` : ""}</span></p>
      <p class="said in"><span class="dim" aria-label="in">→</span> ${line(event.input, 240) || html`<span class="dim">not captured</span>`}</p>
      <p class="said out"><span class="dim" aria-label="out">←</span> ${event.error ? html`<span class="bad">${line([event.error.type, event.error.message].filter(Boolean).join(": "), 240)}</span>` : line(event.output, 240) || html`<span class="dim">${asks || "not captured"}</span>`}${asks && event.output ? html` <span class="dim">${asks}</span>` : ""}</p>
    </div>`;
}
