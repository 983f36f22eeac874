// @ts-check
/** The run as a waterfall: what took the time, and what the run waited for. Repetitions are folded. */

import { html, useMemo, useState } from "../vendor/preact.js";
import { criticalPath } from "../lib/critical.js";
import { count, duration, line, money, plural } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { choose, usePlace } from "../lib/router.js";
import { eventOf, nameOf, nodeOf, useTree } from "../lib/tree.js";
import { useLater } from "../lib/use.js";
import { Waiting } from "./asked.js";
import { Kind } from "./badges.js";
import { Minimap } from "./minimap.js";
import { Windowed } from "./windowed.js";

/** Repetitions of a pattern are folded from so many on. */
const FOLDED_FROM = 5;

/** @typedef {{ at: number, fold?: any }} Line a node, or what follows a folded pattern */

/** @param {{ run: any, path: string, version: any, evidence: Set<string>, event: string }} props */
export function Timeline({ run, path, version, evidence, event }) {
  const { query } = usePlace();
  const folding = query.folds !== "open";
  const [closed, setClosed] = useState(/** @type {Set<string>} */ (new Set()));
  const asked = useTree(path, version, { fold: folding ? FOLDED_FROM : 0 });
  const tree = asked.data;
  // The critical path and the map are of all spans, also of those that are folded or still on their way.
  const isFolded = tree?.folded.length > 0 && !tree.isPart;
  const unfolded = useTree(path, version, { isWanted: isFolded });
  const every = isFolded ? unfolded.data : tree;
  const all = every?.isPart ? undefined : every?.data;
  const [sight, setSight] = useState([0, 0]);
  const warned = useMemo(() => new Set([...evidence].map(nodeOf)), [evidence]);
  /** @type {Line[]} */
  const lines = useMemo(() => (tree ? linesOf(tree, closed) : []), [tree, closed]);
  const critical = useLater(() => (all ? criticalPath(all, wholeOf(all)) : null), [all]);
  const whole = useMemo(() => (tree ? Math.max(wholeOf(tree.data), tree.isPart ? 1000 * (run?.duration_ms ?? 0) : 0) : 0), [tree, run?.duration_ms]);
  const selected = nodeOf(event);
  const at = useMemo(() => (tree && event ? lineOf(selected, lines, tree.data, all) : -1), [selected, lines, all]);
  const pick = (/** @type {number} */ index) => {
    const one = lines[index];
    if (!one) return;
    if (one.fold) choose({ folds: "open" });
    else choose({ event: eventOf(tree.data, one.at) }, { replace: true });
  };
  const move = (/** @type {number} */ by) => {
    let index = at + by;
    while (lines[index]?.fold) index += by;
    pick(Math.max(0, Math.min(lines.length - 1, index)));
  };
  const setOpen = (/** @type {boolean} */ open) => {
    if (at < 0) return;
    const next = new Set(closed);
    next[open ? "delete" : "add"](selected);
    setClosed(next);
  };
  useKeys({
    j: ["next span", () => move(1)], ArrowDown: ["next span", () => move(1)],
    k: ["span before", () => move(-1)], ArrowUp: ["span before", () => move(-1)],
    l: ["open what is below", () => setOpen(true)], ArrowRight: ["open what is below", () => setOpen(true)],
    h: ["close what is below", () => setOpen(false)], ArrowLeft: ["close what is below", () => setOpen(false)],
    e: ["next error", () => {
      const next = lines.findIndex((one, index) => index > at && !one.fold && tree.data.status[one.at] === "error");
      if (next >= 0) pick(next);
    }],
  });
  if (!tree) return html`<${Waiting} asked=${asked} />`;
  const { data } = tree;
  const [from, until] = [lines[sight[0]], lines[Math.min(sight[1], lines.length) - 1]].map((one) => (one ? data.start_us[one.at] : 0));
  const pickTime = (/** @type {number} */ us) => {
    let best = -1;
    lines.forEach((one, index) => !one.fold && data.start_us[one.at] <= us && (best < 0 || data.start_us[one.at] >= data.start_us[lines[best].at]) && (best = index));
    if (best >= 0) pick(best);
  };
  return html`
    <p class="dim summary">${plural(tree.isPart ? run?.counts.spans ?? tree.meta.total : tree.meta.total, "span")}${tree.isPart ? ", the first of them so far" : tree.meta.total > tree.meta.shown ? `, ${count(tree.meta.shown)} shown` : ""}, ${duration(whole / 1000)} in all.${" "}
      ${critical && html`It waited for ${waits(critical.us, whole)}.`}
      ${(tree.folded.length > 0 || !folding) && html`<button type="button" class="quiet" onClick=${() => choose({ folds: folding ? "open" : null })}>${folding ? "Show every repetition" : "Fold repetitions"}</button>`}</p>
    <${Minimap} data=${all ?? data} whole=${whole} from=${from} until=${until} onPick=${pickTime} />
    <${Windowed} rows=${lines} height=${28} label="Timeline" active=${at} class="grid-timeline" head=${HEAD}
      keyOf=${(/** @type {Line} */ one) => (one.fold ? `fold-${one.fold.at}` : data.id[one.at])} onSelect=${pick}
      onSeen=${(/** @type {number} */ first, /** @type {number} */ last) => setSight([first, last])}
      render=${(/** @type {Line} */ one) => (one.fold ? Folded(one.fold, data, whole) : Span(data, one.at, whole, { isWarned: warned.has(data.id[one.at]), isClosed: closed.has(data.id[one.at]), isCritical: critical?.ids.has(data.id[one.at]) }))} />`;
}

/** The line of a span, or of the fold that hides it. @param {string} id @param {Line[]} lines @param {any} data @param {any} all every span */
function lineOf(id, lines, data, all) {
  const shown = lines.findIndex((one) => !one.fold && data.id[one.at] === id);
  const place = shown < 0 && all ? all.id.indexOf(id) : -1;
  if (place < 0) return shown;
  const began = all.start_us[place];
  return lines.findIndex((one) => one.fold && data.start_us[one.at] <= began && began <= one.fold.end_us);
}

const HEAD = ["Span", "When", "Took", "Tokens", "Cost"].map((name, place) => html`<span role="columnheader" class=${place > 1 ? "number" : ""}>${name}</span>`);

/** When the run is over, µs after it began. @param {any} data */
const wholeOf = (data) => data.start_us.reduce((/** @type {number} */ most, /** @type {number} */ start, /** @type {number} */ at) => Math.max(most, start + (data.duration_us[at] ?? 0)), 1);

/** What the critical path was at, the longest first. @param {Map<string, number>} us @param {number} whole */
const waits = (us, whole) => [...us].filter(([, took]) => took > whole / 100).sort(([, one], [, other]) => other - one)
  .map(([kind, took]) => `${WAITS[kind] ?? "steps around them"} ${Math.round((100 * took) / whole)} %`).join(", ");
/** @type {Record<string, string>} */
const WAITS = { LLM: "models", TOOL: "tools", RETRIEVER: "retrieval", EMBEDDING: "embeddings", HANDOFF: "handoffs", "": "nothing that was told" };

/** @param {any} tree @param {Set<string>} closed @returns {Line[]} */
function linesOf(tree, closed) {
  /** @type {Map<number, any>} where the last node of a shown pattern is, its fold */
  const after = new Map(tree.folded.map((/** @type {any} */ fold) => [endOf(tree.data, fold), fold]));
  /** @type {Line[]} */
  const lines = [];
  let hiddenBelow = -1;
  for (let at = 0; at < tree.data.id.length; at++) {
    const depth = tree.data.depth[at];
    if (hiddenBelow >= 0 && depth > hiddenBelow) continue;
    hiddenBelow = closed.has(tree.data.id[at]) ? depth : -1;
    lines.push({ at });
    const fold = after.get(at);
    if (fold) lines.push({ at, fold });
  }
  return lines;
}

/** Place of the last shown node of a folded pattern. @param {any} data @param {any} fold */
function endOf(data, fold) {
  const depth = data.depth[fold.at];
  let siblings = 0;
  let at = fold.at;
  for (; at < data.id.length; at++) {
    if (data.depth[at] < depth) break;
    if (data.depth[at] === depth && ++siblings > fold.pattern) break;
  }
  return at - 1;
}

/** @param {any} data @param {number} at @param {number} whole @param {{ isWarned: boolean, isClosed: boolean, isCritical?: boolean }} is */
function Span(data, at, whole, { isWarned, isClosed, isCritical }) {
  const took = data.duration_us[at];
  const left = (100 * data.start_us[at]) / whole;
  const width = took === null ? 100 - left : (100 * took) / whole;
  const kind = data.kind[at];
  const first = data.ttft_us[at];
  return html`
    <span role="gridcell" class="name" style=${{ paddingLeft: `${Math.min(data.depth[at], 20) * 14 + 6}px` }}>
      ${data.below[at] ? html`<span class="dim" aria-hidden="true">${isClosed ? "▸ " : "▾ "}</span>` : ""}
      ${isWarned && html`<b class="warn" title="evidence of a warning">▲ </b>`}<${Kind} kind=${kind} /> ${line(nameOf(data, at), 60)}
      ${data.status[at] === "error" && html`<b class="bad" title="failed"> ✗</b>`}</span>
    <span role="gridcell" class="track" title=${first === null ? "" : `first token after ${duration(first / 1000)}`}><span class=${`bar ${kind.toLowerCase()} ${data.status[at]} ${isCritical ? "critical" : ""}`} style=${{ left: `min(${left}%, calc(100% - 2px))`, width: `max(2px, ${width}%)` }}></span>
      ${first !== null && html`<span class="mark" style=${{ left: `${left + (100 * first) / whole}%` }}></span>`}</span>
    <span role="gridcell" class="number">${took === null ? "running" : duration(took / 1000)}</span>
    <span role="gridcell" class="number dim">${data.tokens[at] === null ? "" : count(data.tokens[at])}</span>
    <span role="gridcell" class="number dim">${data.cost_usd[at] === null ? "" : money(data.cost_usd[at])}</span>`;
}

/** @param {any} fold @param {any} data @param {number} whole */
function Folded(fold, data, whole) {
  const left = (100 * data.start_us[fold.at]) / whole;
  return html`
    <span role="gridcell" class="name folded" style=${{ paddingLeft: `${Math.min(data.depth[fold.at], 20) * 14 + 6}px` }}>
      <b>× ${fold.times}</b> the same${fold.pattern > 1 ? ` ${fold.pattern} steps` : ""}, ${count(fold.hidden)} spans folded</span>
    <span role="gridcell" class="track"><span class="bar folded" style=${{ left: `${left}%`, width: `max(2px, ${(100 * (fold.end_us - data.start_us[fold.at])) / whole}%)` }}></span></span>
    <span role="gridcell" class="number">${duration((fold.end_us - data.start_us[fold.at]) / 1000)}</span>
    <span role="gridcell" class="number dim">${fold.tokens === null ? "" : count(fold.tokens)}</span>
    <span role="gridcell" class="number dim">${fold.cost_usd === null ? "" : money(fold.cost_usd)}</span>`;
}
