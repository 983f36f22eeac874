// @ts-check
/** Two runs side by side: where their steps part first, what differs in sums, tools and prompts, and all steps aligned. */

import { html } from "../vendor/preact.js";
import { address, get } from "../lib/api.js";
import { count, duration, line, moment, money, plural, whole } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { Link, addressOf, choose, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge, Kind } from "../parts/badges.js";
import { Copy, asCurl } from "../parts/copy.js";
import { Windowed } from "../parts/windowed.js";

/** @type {[string, (run: any) => number | null, (value: any) => string][]} */
const SUMS = [
  ["Lasted", (run) => run.duration_ms, duration], ["Cost", (run) => run.cost_usd, money],
  ["Tokens read", (run) => run.usage.input, count], ["Tokens written", (run) => run.usage.output, count], ["From cache", (run) => run.usage.cache_read, count],
  ["LLM calls", (run) => run.counts.llm_calls, whole], ["Tool calls", (run) => run.counts.tool_calls, whole], ["Failed", (run) => run.counts.llm_errors + run.counts.tool_errors, whole],
  ["Warnings", (run) => run.counts.warnings, whole], ["Health", (run) => run.health.score, whole],
];

export function Compare() {
  const { query } = usePlace();
  const { a, b } = query;
  const asked = useAsked(async (signal) => (a && b ? get("/compare", { a, b, align: query.align }, signal) : undefined), [a, b, query.align]);
  const pairs = asked.data?.steps.pairs ?? [];
  const step = Number(query.step ?? -1);
  const pick = (/** @type {number} */ index) => pairs.length && choose({ step: Math.max(0, Math.min(pairs.length - 1, index)) }, { replace: true });
  useKeys({
    j: ["next step", () => pick(step + 1)], ArrowDown: ["next step", () => pick(step + 1)],
    k: ["step before", () => pick(step - 1)], ArrowUp: ["step before", () => pick(step - 1)],
    n: ["next difference", () => {
      const next = pairs.findIndex((/** @type {any} */ pair, /** @type {number} */ index) => index > step && pair.differs.length);
      if (next >= 0) pick(next);
    }],
    x: ["swap the runs", () => choose({ a: b, b: a, step: null })],
  });
  if (!a || !b) return html`<main class="page"><h1>Compare</h1><div class="empty"><p>Press <kbd>c</kbd> on a run in the <${Link} to="/">list</${Link}> to mark it, then <kbd>c</kbd> on another.</p><p>Both are shown side by side, with the first step at which they part.</p></div></main>`;
  if (!asked.data) return html`<main class="page"><h1>Compare</h1><${Waiting} asked=${asked} /></main>`;
  const { a: one, b: other, steps } = asked.data;
  return html`
    <main class="page">
      <h1>Compare</h1>
      <div class="tools">
        <button type="button" class="quiet" onClick=${() => choose({ a: b, b: a, step: null })}>Swap</button>
        <label class="pick">Align <select value=${query.align ?? ""} onChange=${(/** @type {any} */ event) => choose({ align: event.target.value, step: null })}>
          <option value="">what both did in the same order</option><option value="index">steps of the same number</option></select></label>
        <${Copy} text=${() => location.href}>Copy link</${Copy}>
        <${Copy} text=${asCurl(address("/compare", { a, b, align: query.align }))}>Copy as curl</${Copy}>
      </div>
      <${Parting} steps=${steps} one=${one} other=${other} />
      <div class="beside">
        <${Sums} one=${one} other=${other} />
        <div>
          <${Names} title="Agents" names=${asked.data.agents} />
          <${Names} title="Tools" names=${asked.data.tools} />
          <${Names} title="Offered tools" names=${asked.data.offered_tools} />
          <${Names} title="Warnings" names=${asked.data.warnings} />
        </div>
      </div>
      ${Object.entries(asked.data.prompt_diff ?? {}).map(([role, text]) => html`<h2>The ${role} prompt differs</h2><${Lines} text=${text} />`)}
      ${asked.data.patch_omitted.map((/** @type {string} */ role) => html`<p class="dim">The ${role} prompt differs too much to be shown.</p>`)}
      <h2>Steps</h2>
      <p class="dim">${plural(steps.alike, "step")} alike; ${whole(steps.paired - steps.alike)} differ; ${whole(steps.only_a)} only in A, ${whole(steps.only_b)} only in B${steps.truncated ? `; the first ${whole(pairs.length)} are shown` : ""}.</p>
      ${pairs.length > 0 && html`<div class="aligned" style=${{ height: `min(60vh, ${30 * pairs.length + 32}px)` }}><${Windowed} rows=${pairs} height=${30} label="Aligned steps" active=${step} class="grid-pairs" head=${HEAD}
        keyOf=${(/** @type {any} */ _, /** @type {number} */ index) => String(index)} onSelect=${pick}
        render=${(/** @type {any} */ pair) => html`
          <span role="gridcell"><${Step} step=${pair.a} run=${a} /></span><span role="gridcell"><${Step} step=${pair.b} run=${b} /></span>
          <span role="gridcell">${!pair.a || !pair.b ? html`<span class="warn">only in ${pair.a ? "A" : "B"}</span>` : pair.differs.length ? html`<span class="warn">≠ ${pair.differs.join(", ")}</span>` : html`<span class="good">= alike</span>`}</span>`} /></div>`}
    </main>`;
}

const HEAD = ["A", "B", "How they compare"].map((name) => html`<span role="columnheader">${name}</span>`);

/** @param {{ step: any, run: string }} props */
function Step({ step, run }) {
  if (!step) return html`<span class="dim">–</span>`;
  return html`<${Kind} kind=${step.kind} /> <${Link} to=${addressOf(`/runs/${run}`, { event: step.event_id })}>${line(step.name, 50)}</${Link}> <span class="dim">${line(step.agent, 30)}</span>`;
}

/** Where the runs part first, in words and in what differs. @param {{ steps: any, one: any, other: any }} props */
function Parting({ steps, one, other }) {
  const first = steps.first_divergence;
  if (!first) return html`<p class="says">Both runs took the same ${plural(steps.a, "step")}.</p>`;
  const names = [first.a?.name, first.b?.name];
  const says = !first.a || !first.b ? `at step ${first.at + 1}: only ${first.a ? "A" : "B"} has ${names[first.a ? 0 : 1]}`
    : `at step ${first.at + 1}, ${names[0] === names[1] ? names[0] : `${names[0]} against ${names[1]}`}: ${first.differs.join(", ")}`;
  return html`
    <section aria-label="First difference">
      <p class="says"><strong>They part ${says}.</strong></p>
      <p>${first.a && html`<${Link} to=${addressOf(`/runs/${one.run_id}`, { event: first.a.event_id })}>The step in A</${Link}> `}${first.b && html`<${Link} to=${addressOf(`/runs/${other.run_id}`, { event: first.b.event_id })}>The step in B</${Link}>`}</p>
      ${first.diff?.length > 0 && html`
        <table class="plain"><caption class="hidden">What differs in this step</caption>
          <thead><tr><th scope="col">Where</th><th scope="col">A</th><th scope="col">B</th></tr></thead>
          <tbody>${first.diff.slice(0, 20).map((/** @type {any} */ change) => html`<tr><th scope="row"><code>${change.path || "all of it"}</code></th><td class="message">${shown(change.a)}</td><td class="message">${shown(change.b)}</td></tr>`)}</tbody>
        </table>`}
    </section>`;
}

/** @param {any} value */
const shown = (value) => (value === null || value === undefined || value === "" ? "–" : line(typeof value === "string" ? value : JSON.stringify(value), 400));

/** @param {{ one: any, other: any }} props */
function Sums({ one, other }) {
  return html`
    <table class="plain"><caption class="hidden">Sums of both runs</caption>
      <thead><tr><td></td>${[one, other].map((run, index) => html`<th scope="col">${"AB"[index]}: <${Link} to=${`/runs/${run.run_id}`}>${line(run.name, 40) || run.run_id.slice(0, 8)}</${Link}> <${Badge} state=${run.status} /><br /><span class="dim">${moment(run.started_at)}</span></th>`)}<th scope="col" class="number">Difference</th></tr></thead>
      <tbody>${SUMS.map(([name, of, written]) => {
        const [before, after] = [of(one), of(other)];
        const by = before !== null && after !== null ? after - before : null;
        return html`<tr><th scope="row">${name}</th><td class="number">${written(before)}</td><td class="number">${written(after)}</td><td class="number">${by === null ? "unknown" : by === 0 ? html`<span class="dim">the same</span>` : `${by > 0 ? "+" : "−"}${written(Math.abs(by))}`}</td></tr>`;
      })}</tbody>
    </table>`;
}

/** Names that one of them has alone. @param {{ title: string, names: { only_a: string[], only_b: string[], both: string[] } }} props */
function Names({ title, names }) {
  /** @type {[string, string[]][]} */
  const sides = [["only A", names.only_a], ["only B", names.only_b], ["both", names.both]];
  if (!sides.some(([, found]) => found.length)) return null;
  return html`<h2>${title}</h2><dl class="details">${sides.map(([side, found]) => found.length > 0 && html`<dt>${side}</dt><dd>${found.join(", ")}</dd>`)}</dl>`;
}

/** A difference of lines. @param {{ text: string }} props */
function Lines({ text }) {
  return html`<pre class="text" tabindex="0">${text.split("\n").slice(2).map((one) => html`<span class=${one.startsWith("+") ? "good" : one.startsWith("-") ? "bad" : "dim"}>${one + "\n"}</span>`)}</pre>`;
}
