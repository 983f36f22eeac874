// @ts-check
/** Conversations over runs, those with the latest runs first. */

import { html, useEffect, useState } from "../vendor/preact.js";
import { address, get } from "../lib/api.js";
import { count, duration, line, moment, money } from "../lib/format.js";
import { Link, addressOf, choose, go, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";
import { Copy, asCurl } from "../parts/copy.js";
import { Search } from "../parts/search.js";
import { Since } from "../parts/since.js";

const PAGE = 100;

export function Sessions() {
  const { query } = usePlace();
  const asked = useAsked((signal) => get("/sessions", { ...query, limit: PAGE }, signal), [query], { everyMs: 5000, hears: (word) => Boolean(word.data.session_id) });
  const rest = useRest(query, asked.data?.page.next_cursor ?? null);
  /** @type {any[]} */
  const rows = [...(asked.data?.data ?? []), ...rest.rows];
  const isFiltered = Object.keys(query).length > 0;
  return html`
    <main class="page">
      <h1>Sessions</h1>
      <div class="tools">
        <${Search} value=${query.q ?? ""} onSearch=${(/** @type {string} */ q) => choose({ q })} error=${asked.error} />
        <${Since} since=${query.since} />
        <${Copy} text=${() => asCurl(address("/sessions", query))}>Copy as curl</${Copy}>
      </div>
      ${!asked.data ? html`<${Waiting} asked=${asked} />`
        : !rows.length ? html`<div class="empty"><h2>${isFiltered ? "No session is like this" : "No session yet"}</h2>
          ${isFiltered ? html`<button type="button" onClick=${() => go("/sessions")}>Show all sessions</button>`
            : html`<p>A session is a conversation of several runs. Programs say which one a run belongs to by <code>session.id</code> or <code>gen_ai.conversation.id</code> on their spans, which most instrumentations have a setting for; calls through the proxy are put together by what was said before, or by the header <code>X-Loop-Session</code>.</p>`}</div>`
        : html`
        <div class="wide"><table class="plain"><caption class="hidden">Sessions</caption>
          <thead><tr><th scope="col">Session</th><th scope="col">Latest run</th><th scope="col" class="number">Runs</th><th scope="col" class="number">Lasted</th><th scope="col" class="number">LLM</th><th scope="col" class="number">Tools</th><th scope="col" class="number">Tokens</th><th scope="col" class="number">Cost</th><th scope="col">State</th><th scope="col">Began with</th></tr></thead>
          <tbody>${rows.map((session) => html`<${Row} key=${`${session.project} ${session.session_id}`} session=${session} />`)}</tbody>
        </table></div>
        ${rest.error && html`<p class="bad" role="alert">${rest.error}</p>`}
        ${rest.cursor && html`<button type="button" onClick=${rest.more}>Show earlier sessions</button>`}`}
    </main>`;
}

/** @param {{ session: any }} props */
function Row({ session }) {
  const { counts, usage, statuses } = session;
  return html`<tr>
    <th scope="row"><${Link} to=${addressOf(`/sessions/${encodeURIComponent(session.session_id)}`, { project: session.project })} title=${session.session_id}><bdi>${line(session.session_id, 40)}</bdi></${Link}> <span class="dim">${line(session.project, 30)}</span></th>
    <td>${moment(session.last_run_at)}</td><td class="number">${count(counts.runs)}</td><td class="number">${duration(session.duration_ms)}</td>
    <td class="number">${count(counts.llm_calls)}</td><td class="number">${count(counts.tool_calls)}</td>
    <td class="number">${usage.input === null && usage.output === null ? count(null) : count((usage.input ?? 0) + (usage.output ?? 0))}</td><td class="number">${money(session.cost_usd)}</td>
    <td>${statuses.running ? html`<${Badge} state="running" /> ` : ""}${statuses.failed ? html`<${Badge} state="failed">${count(statuses.failed)} failed</${Badge}> ` : ""}${counts.warnings ? html`<${Badge} state="warning">${count(counts.warnings)}</${Badge}>` : ""}</td>
    <td class="message">${line(session.input, 120)}</td></tr>`;
}

/** Sessions behind the first page, which stay as they were when they were asked for. @param {Record<string, string>} query @param {string | null} first */
function useRest(query, first) {
  const [state, setState] = useState(/** @type {any} */ ({ rows: [], cursor: undefined, error: "" }));
  useEffect(() => setState({ rows: [], cursor: undefined, error: "" }), [JSON.stringify(query)]);
  const cursor = state.cursor === undefined ? first : state.cursor;
  const more = async () => {
    try {
      const page = await get("/sessions", { ...query, limit: PAGE, cursor });
      setState({ rows: [...state.rows, ...page.data], cursor: page.page.next_cursor, error: "" });
    } catch (problem) {
      setState({ ...state, error: /** @type {Error} */ (problem).message });
    }
  };
  return { ...state, cursor, more };
}
