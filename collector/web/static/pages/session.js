// @ts-check
/** A conversation: its runs as turns, oldest first, with their sums. */

import { html, useState } from "../vendor/preact.js";
import { address, get } from "../lib/api.js";
import { count, duration, line, moment, money, plural } from "../lib/format.js";
import { Link, addressOf, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";
import { Copy, asCurl } from "../parts/copy.js";
import { Prose } from "../parts/prose.js";

const FIRST = 100;
const MOST = 1000;

/** @param {{ id: string }} props */
export function SessionPage({ id }) {
  const { query } = usePlace();
  const [limit, setLimit] = useState(FIRST);
  const path = `/sessions/${encodeURIComponent(id)}`;
  const ours = (/** @type {any} */ word) => word.data.session_id === id;
  const asked = useAsked((signal) => get(path, { project: query.project, limit }, signal), [id, query.project, limit], { everyMs: 3000, hears: ours });
  const warnings = useAsked((signal) => get("/warnings", { session: id, project: query.project, limit: 100 }, signal), [id, query.project], { everyMs: 5000, hears: (word) => word.event === "warning" });
  const isShared = asked.error?.status === 409;
  const shared = useAsked(async (signal) => (isShared ? (await get("/sessions", { session: id }, signal)).data : []), [id, isShared]);
  if (!asked.data) return html`
    <main class="page">
      <p class="crumbs"><${Link} to="/sessions">Sessions</${Link}> / session</p><h1>${line(id, 120)}</h1>
      ${asked.error?.status === 404 ? html`<div class="empty"><h2>No run has this session</h2><p>It may have been deleted, or its runs are kept under another id.</p></div>`
        : isShared ? html`<p>Several projects have a session of this name:</p><ul>${(shared.data ?? []).map((/** @type {any} */ one) => html`<li><${Link} to=${addressOf(location.pathname, { project: one.project })}>${one.project}</${Link}> <span class="dim">${plural(one.counts.runs, "run")}, the latest ${moment(one.last_run_at)}</span></li>`)}</ul>`
        : html`<${Waiting} asked=${asked} />`}
    </main>`;
  const { session, data, page } = asked.data;
  /** @type {any[]} */
  const runs = [...data].reverse();
  const facts = [
    ["Runs", count(session.counts.runs)], ["Lasted", duration(session.duration_ms)], ["LLM calls", count(session.counts.llm_calls)], ["Tool calls", count(session.counts.tool_calls)],
    ["Tokens", `${count(session.usage.input)} in, ${count(session.usage.output)} out`], ["Cost", money(session.cost_usd)],
    ...(session.counts.errors ? [["Failed", count(session.counts.errors)]] : []),
  ];
  return html`
    <main class="page">
      <p class="crumbs"><${Link} to="/sessions">Sessions</${Link}> / session</p>
      <h1>${line(id, 120)}</h1>
      <p class="dim">${moment(session.started_at)} · ${[session.project, ...session.users, ...session.agents].join(", ")}
        <${Copy} text=${() => location.href}>Copy link</${Copy}> <${Copy} text=${asCurl(address(path, { project: query.project }))}>Copy as curl</${Copy}></p>
      <dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${(warnings.data?.data ?? []).map((/** @type {any} */ warning) => html`<p><${Badge} state=${warning.severity}>${warning.type.replaceAll("_", " ")}</${Badge}> <${Prose} text=${warning.message} /></p>`)}
      ${page.next_cursor && (limit < MOST ? html`<p><button type="button" onClick=${() => setLimit(MOST)}>Show earlier turns too</button></p>` : html`<p class="dim">The latest ${plural(limit, "turn")} are shown.</p>`)}
      <ol class="turns" start=${Math.max(1, session.counts.runs - runs.length + 1)}>${runs.map((run) => html`
        <li key=${run.run_id}>
          <h2><${Link} to=${`/runs/${run.run_id}`}>${line(run.name, 80) || run.run_id.slice(0, 8)}</${Link}> <${Badge} state=${run.status} /></h2>
          <p class="dim">${moment(run.started_at)} · ${duration(run.duration_ms)} · ${plural(run.counts.llm_calls, "LLM call")}, ${plural(run.counts.tool_calls, "tool call")} · ${count(run.usage.total)} tokens · ${money(run.cost_usd)}</p>
          ${run.input && html`<p class="said"><span class="dim" aria-label="in">→</span> ${line(run.input, 600)}</p>`}
          ${run.output && html`<p class="said"><span class="dim" aria-label="out">←</span> ${line(run.output, 600)}</p>`}
        </li>`)}</ol>
    </main>`;
}
