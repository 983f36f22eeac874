// @ts-check
/** Every event of a run as a flat list, by time. */

import { html, useMemo } from "../vendor/preact.js";
import { count, duration, line, money, plural } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { holds } from "../lib/found.js";
import { choose } from "../lib/router.js";
import { byTime, eventOf, nameOf, nodeOf } from "../lib/tree.js";
import { Waiting } from "./asked.js";
import { Badge, Kind } from "./badges.js";
import { Windowed } from "./windowed.js";

const NUMBERS = new Set(["At", "Took", "Tokens", "Cost"]);
const HEAD = ["At", "Kind", "What", "Agent", "Status", "Took", "Tokens", "Cost"]
  .map((name) => html`<span role="columnheader" class=${NUMBERS.has(name) ? "number" : ""}>${name}</span>`);

/** @param {{ tree: import("../lib/use.js").Asked<any>, evidence: Set<string>, event: string, find: string, found: import("../lib/found.js").Found | undefined }} props */
export function Events({ tree: asked, evidence, event, find, found }) {
  const data = asked.data?.data;
  const all = useMemo(() => (data ? byTime(data) : []), [data]);
  const rows = useMemo(() => (find ? all.filter((at) => found?.hits.has(data.id[at]) || [data.name[at], data.tool[at], data.model[at], data.agent[at], data.kind[at], data.status[at]].some((text) => holds(text, find))) : all), [all, find, found]);
  const warned = useMemo(() => new Set([...evidence].map(nodeOf)), [evidence]);
  const selected = nodeOf(event);
  const active = rows.findIndex((at) => data.id[at] === selected);
  const pick = (/** @type {number} */ index) => rows.length && choose({ event: eventOf(data, rows[Math.max(0, Math.min(rows.length - 1, index))]) }, { replace: true });
  useKeys({
    j: ["next event", () => pick(active + 1)], ArrowDown: ["next event", () => pick(active + 1)],
    k: ["event before", () => pick(active - 1)], ArrowUp: ["event before", () => pick(active - 1)],
    e: ["next error", () => {
      const next = rows.findIndex((at, index) => index > active && data.status[at] === "error");
      if (next >= 0) pick(next);
    }],
  });
  if (!data) return html`<${Waiting} asked=${asked} />`;
  return html`
    ${find && html`<p class="dim" role="status">${count(rows.length)} of ${plural(all.length, "event")} have it in their texts or their names.</p>`}
    ${rows.length ? html`<${Windowed} rows=${rows} height=${30} label="Events" active=${active} class="grid-events" head=${HEAD}
      keyOf=${(/** @type {number} */ at) => data.id[at]} onSelect=${pick}
      render=${(/** @type {number} */ at) => html`
        <span role="gridcell" class="number">${duration(data.start_us[at] / 1000)}</span>
        <span role="gridcell"><${Kind} kind=${data.kind[at]} /></span>
        <span role="gridcell" class="name">${warned.has(data.id[at]) && html`<b class="warn" title="evidence of a warning">▲ </b>`}${line(nameOf(data, at), 80)}${data.flags[at] & asked.data.meta.flags.duplicate ? html` <span class="dim">told twice</span>` : ""}</span>
        <span role="gridcell" class="dim">${line(data.agent[at], 40)}</span>
        <span role="gridcell"><${Badge} state=${data.status[at]} /></span>
        <span role="gridcell" class="number">${data.duration_us[at] === null ? "" : duration(data.duration_us[at] / 1000)}</span>
        <span role="gridcell" class="number">${data.tokens[at] === null ? "" : count(data.tokens[at])}</span>
        <span role="gridcell" class="number">${data.cost_usd[at] === null ? "" : money(data.cost_usd[at])}</span>`} />`
      : html`<p class="dim">${find ? "No event is like this." : "This run has no events yet."}</p>`}`;
}
