// @ts-check
/** A conversation: its runs as turns, oldest first, with their sums. */

import { html } from "../vendor/preact.js";
import { get, send } from "../lib/api.js";
import { count, duration, line, moment, money, plural } from "../lib/format.js";
import { Link } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";

const MOST = 1000;

/** @param {{ id: string }} props */
export function SessionPage({ id }) {
  const asked = useAsked(() => send("POST", "/runs:search", { filter: { field: "session", value: id, exact: true }, limit: MOST }), [id], { everyMs: 3000 });
  const warnings = useAsked((signal) => get("/warnings", { session: id, limit: 100 }, signal), [id], { everyMs: 5000 });
  /** @type {any[]} */
  const runs = [...(asked.data?.data ?? [])].reverse();
  const sum = (/** @type {(run: any) => number | null} */ of) => {
    const known = runs.map(of).filter((value) => value !== null);
    return known.length ? known.reduce((all, value) => /** @type {number} */ (all) + /** @type {number} */ (value), 0) : null;
  };
  return html`
    <main class="page">
      <p class="crumbs"><${Link} to="/">Runs</${Link}> / session</p>
      <h1>${line(id, 120)}</h1>
      ${!asked.data ? html`<${Waiting} asked=${asked} />` : !runs.length ? html`<div class="empty"><h2>No run has this session</h2></div>` : html`
        <dl class="facts">
          <div><dt>Runs</dt><dd>${count(runs.length)}${runs.length === MOST ? " or more" : ""}</dd></div>
          <div><dt>Tokens</dt><dd>${count(sum((run) => run.usage.total))}</dd></div>
          <div><dt>Cost</dt><dd>${money(sum((run) => run.cost_usd))}</dd></div>
          <div><dt>LLM calls</dt><dd>${count(sum((run) => run.counts.llm_calls))}</dd></div>
        </dl>
        ${(warnings.data?.data ?? []).map((/** @type {any} */ warning) => html`<p><${Badge} state=${warning.severity}>${warning.type.replaceAll("_", " ")}</${Badge}> ${warning.message}</p>`)}
        <ol class="turns">${runs.map((run) => html`
          <li key=${run.run_id}>
            <h2><${Link} to=${`/runs/${run.run_id}`}>${line(run.name, 80) || run.run_id.slice(0, 8)}</${Link}> <${Badge} state=${run.status} /></h2>
            <p class="dim">${moment(run.started_at)} · ${duration(run.duration_ms)} · ${plural(run.counts.llm_calls, "LLM call")}, ${plural(run.counts.tool_calls, "tool call")} · ${count(run.usage.total)} tokens · ${money(run.cost_usd)}</p>
            ${run.input && html`<p class="said"><span class="dim" aria-label="in">→</span> ${line(run.input, 600)}</p>`}
            ${run.output && html`<p class="said"><span class="dim" aria-label="out">←</span> ${line(run.output, 600)}</p>`}
          </li>`)}</ol>`}
    </main>`;
}
