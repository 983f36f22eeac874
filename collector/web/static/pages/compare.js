// @ts-check
/** Two runs side by side: what differs in sums and tools, and where their steps part. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { count, duration, line, moment, money, whole } from "../lib/format.js";
import { Link, choose, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";

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
  const asked = useAsked(async (signal) => (a && b ? Promise.all([a, b].map((id) => get(`/runs/${encodeURIComponent(id)}`, {}, signal))) : []), [a, b]);
  if (!a || !b) return html`<main class="page"><h1>Compare</h1><div class="empty"><p>Mark a run with <kbd>c</kbd> in the <${Link} to="/">list</${Link}>, then press <kbd>c</kbd> on another.</p></div></main>`;
  if (!asked.data?.length) return html`<main class="page"><h1>Compare</h1><${Waiting} asked=${asked} /></main>`;
  const [one, other] = asked.data;
  return html`
    <main class="page">
      <h1>Compare</h1>
      <button type="button" class="quiet" onClick=${() => choose({ a: b, b: a })}>Swap</button>
      <table class="plain"><caption class="hidden">Sums of both runs</caption>
        <thead><tr><td></td>${[one, other].map((run) => html`<th scope="col"><${Link} to=${`/runs/${run.run_id}`}>${line(run.name, 40) || run.run_id.slice(0, 8)}</${Link}> <${Badge} state=${run.status} /><br /><span class="dim">${moment(run.started_at)}</span></th>`)}<th scope="col">Difference</th></tr></thead>
        <tbody>${SUMS.map(([name, of, written]) => {
          const [before, after] = [of(one), of(other)];
          const known = before !== null && after !== null;
          const by = known ? /** @type {number} */ (after) - /** @type {number} */ (before) : null;
          return html`<tr><th scope="row">${name}</th><td class="number">${written(before)}</td><td class="number">${written(after)}</td><td class="number">${by === null ? "unknown" : by === 0 ? "the same" : `${by > 0 ? "+" : "−"}${written(Math.abs(by))}`}</td></tr>`;
        })}</tbody>
      </table>
    </main>`;
}
