// @ts-check
/** What was said and done, in order: each message once, each call of a tool with its result, and handoffs between
 * agents. Steps that only repeat the ones before are folded. */

import { html, useMemo, useState } from "../vendor/preact.js";
import { count, duration, line, money, plural } from "../lib/format.js";
import { holds } from "../lib/found.js";
import { useKeys } from "../lib/keys.js";
import { isPicture } from "../lib/pictures.js";
import { choose } from "../lib/router.js";
import { useMessages, usePreviews } from "../lib/said.js";
import { agentsAbove, eventOf, folded, nameOf, nodeOf, stepsOf } from "../lib/tree.js";
import { Waiting } from "./asked.js";
import { Badge, Kind } from "./badges.js";
import { Picture } from "./content.js";
import { Uncaptured } from "./uncaptured.js";
import { Windowed } from "./windowed.js";

const USUAL_HEIGHT = 96;
const INDENT = 22;
const DEEPEST = 6;

/** @typedef {import("../lib/tree.js").Step} Step */

/** @param {{ run: any, path: string, version: any, tree: import("../lib/use.js").Asked<any>, evidence: Set<string>, event: string, find: string }} props */
export function Transcript({ run, path, version, tree: asked, evidence, event, find }) {
  const [open, setOpen] = useState(/** @type {Set<number>} */ (new Set()));
  const messages = useMessages(path, version, run?.counts.spans);
  const { previews, want } = usePreviews(path);
  const data = asked.data?.data;
  const places = useMemo(() => (data ? stepsOf(asked.data) : []), [data]);
  const steps = useMemo(() => (data ? folded(places, data.same, open) : []), [places, open]);
  const indents = useMemo(() => (data ? agentsAbove(data) : []), [data]);
  const tools = useMemo(() => new Set(data?.tool), [data]);
  const warned = useMemo(() => new Set([...evidence].map(nodeOf)), [evidence]);
  const selected = nodeOf(event);
  const hasIt = (/** @type {Step} */ step) => (step.hidden ? step.hidden.some((at) => data.id[at] === selected) : data.id[step.at] === selected);
  const active = event ? steps.findIndex(hasIt) : -1;
  const pick = (/** @type {number} */ index) => {
    const step = steps[Math.max(0, Math.min(steps.length - 1, index))];
    if (step) choose({ event: eventOf(data, step.at) }, { replace: true });
  };
  const unfold = (/** @type {Step} */ step) => setOpen(new Set([...open, step.at]));
  useKeys({
    j: ["next step", () => pick(active + 1)], ArrowDown: ["next step", () => pick(active + 1)],
    k: ["step before", () => pick(active - 1)], ArrowUp: ["step before", () => pick(active - 1)],
    l: ["open what is folded", () => steps[active]?.hidden && unfold(steps[active])],
    e: ["next error", () => {
      const next = steps.findIndex((step, index) => index > active && data.status[step.at] === "error");
      if (next >= 0) pick(next);
    }],
  });
  if (!data) return html`<${Waiting} asked=${asked} />`;
  if (!steps.length) return html`<p class="dim">${run?.status === "running" ? "No call has been told of yet." : "No model and no tool was called in this run."}</p>`;
  /** @param {number} at */
  const keyOf = (at) => `${data.id[at]} ${data.status[at]}`;
  // Of calls without messages some still have a text of another form; previews of those in sight are here.
  const unread = messages?.size === 0 ? places.filter((at) => data.kind[at] === "LLM" && previews.has(keyOf(at))) : [];
  const isUncaptured = unread.length > 0 && unread.every((at) => !previews.get(keyOf(at)).input && !previews.get(keyOf(at)).output);
  return html`${isUncaptured && html`<${Uncaptured} />`}<${Windowed} rows=${steps} height=${USUAL_HEIGHT} flows label="Transcript" active=${active} class="grid-transcript"
    keyOf=${(/** @type {Step} */ step) => data.id[step.at] + (step.hidden ? " folded" : "")} onSelect=${pick}
    onSeen=${(/** @type {number} */ first, /** @type {number} */ last) => want(steps.slice(first, last).filter((step) => !step.hidden && !messages?.has(data.id[step.at])).map((step) => keyOf(step.at)))}
    render=${(/** @type {Step} */ step) => {
      const above = Math.min(indents[step.at], DEEPEST) * INDENT;
      if (step.hidden) return html`<${Folded} step=${step} data=${data} above=${above} open=${() => unfold(step)} />`;
      const said = messages?.get(data.id[step.at]);
      return html`
        <div role="gridcell" class=${`step ${data.kind[step.at].toLowerCase()} ${data.status[step.at]}`} style=${{ marginLeft: `${above}px` }}>
          <${Head} data=${data} at=${step.at} warned=${warned.has(data.id[step.at])} />
          ${said ? html`<${Messages} said=${said} tools=${tools} find=${find} />` : html`<${Preview} preview=${previews.get(keyOf(step.at))} kind=${data.kind[step.at]} />`}
        </div>`;
    }} />`;
}

/** @param {{ data: any, at: number, warned: boolean }} props */
function Head({ data, at, warned }) {
  const numbers = [
    data.duration_us[at] !== null && duration(data.duration_us[at] / 1000),
    data.tokens[at] !== null && `${count(data.tokens[at])} tokens`, data.cost_usd[at] !== null && money(data.cost_usd[at]),
  ].filter(Boolean).join(" · ");
  return html`
    <p class="what">${warned && html`<b class="warn" title="evidence of a warning">▲</b>`}<${Kind} kind=${data.kind[at]} /> <strong>${line(nameOf(data, at), 60)}</strong>
      ${data.agent[at] && !data.handoff[at] && html`<span class="dim">${line(data.agent[at], 40)}</span>`}
      ${data.status[at] !== "ok" && html`<${Badge} state=${data.status[at]} />`}
      <span class="grow"></span><span class="dim numbers">${numbers}</span></p>`;
}

/** Steps that repeat those above. @param {{ step: Step, data: any, above: number, open: () => void }} props */
function Folded({ step, data, above, open }) {
  const hidden = /** @type {number[]} */ (step.hidden);
  const pattern = /** @type {number} */ (step.pattern);
  const sum = (/** @type {string} */ field) => hidden.reduce((all, at) => (data[field][at] === null ? all : (all ?? 0) + data[field][at]), /** @type {number | null} */ (null));
  const tokens = sum("tokens");
  const cost = sum("cost_usd");
  const what = hidden.slice(0, pattern).map((at) => line(nameOf(data, at), 30)).join(", ");
  return html`
    <div role="gridcell" class="step again" style=${{ marginLeft: `${above}px` }}>
      <p class="what"><span><b>∞ ${plural(hidden.length / pattern, "more time")}</b> the same: ${what}</span>
        <button type="button" class="quiet" onClick=${(/** @type {Event} */ click) => {
          click.stopPropagation();
          open();
        }}>Show</button>
        <span class="grow"></span><span class="dim numbers">${[tokens !== null && `${count(tokens)} tokens`, cost !== null && money(cost)].filter(Boolean).join(" · ")}</span></p>
    </div>`;
}

/** What a call read that is new, and what it wrote. @param {{ said: import("../lib/said.js").Said, tools: Set<string>, find: string }} props */
function Messages({ said, tools, find }) {
  const messages = [...said.read, ...said.wrote];
  const lines = messages.flatMap((message) => message.parts
    // A tool's result stands at the tool's own step.
    .filter((/** @type {any} */ part) => part.type !== "tool_result" || !tools.has(part.name))
    .map((/** @type {any} */ part) => ({ role: message.role, part })));
  return html`${lines.map(({ role, part }) => html`<${Part} role=${role} part=${part} find=${find} />`)}
    ${!said.wrote.length && html`<p class="said dim">the answer was not captured</p>`}`;
}

/** @param {{ role: string, part: any, find: string }} props */
function Part({ role, part, find }) {
  const isFound = holds(part.text, find);
  const stay = (/** @type {Event} */ click) => click.stopPropagation();
  if (part.type === "reasoning" || role === "system" || role === "developer")
    return html`<details class="said" open=${isFound} onClick=${stay}><summary><span class="role">${part.type === "reasoning" ? "reasoning" : role}</span> <span class="dim">${line(part.text, 90)}</span></summary><p class=${`words ${isFound ? "whole" : ""}`}>${part.text}</p></details>`;
  if (part.type === "tool_call") return html`<p class="said"><span class="role">asks for</span> <code>${part.name ?? "a tool"}(${line(part.arguments, 300)})</code></p>`;
  if (isPicture(part.text)) return html`<p class="said"><span class="role">${role}</span> <${Picture} source=${part.text} /></p>`;
  if (part.type === "media") return html`<p class="said"><span class="role">${role}</span> <span class="dim">${part.media_type ?? "media"}</span></p>`;
  return html`<p class="said"><span class="role">${part.type === "tool_result" ? "result" : role}</span> <span class=${`words ${isFound ? "whole" : ""}`}>${part.text}</span></p>`;
}

/** The beginnings of what an event read and wrote; as high while they are on their way. @param {{ preview: any, kind: string }} props */
function Preview({ preview, kind }) {
  const { input, output, error } = preview ?? {};
  const asks = preview?.tool_requests?.length ? `asks for ${preview.tool_requests.join(", ")}` : "";
  if (kind === "HANDOFF" && !input && !output) return null;
  return html`
    <p class="said"><span class="role">in</span> <span class=${input ? "words" : "dim"}>${input ?? (preview ? "not captured" : "…")}</span></p>
    <p class="said"><span class="role">out</span> ${error ? html`<span class="bad words">${[error.type, error.message].filter(Boolean).join(": ")}</span>`
      : html`<span class=${output ? "words" : "dim"}>${output ?? (asks || (preview ? "not captured" : "…"))}</span>`}</p>`;
}
