// @ts-check
/** All runs: found by a search, chosen by facets, and kept up to date without a row ever moving by itself. */

import { html, useCallback, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { address, get } from "../lib/api.js";
import { ago, count, duration, line, moment, money, plural } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { remember } from "../lib/neighbours.js";
import { Link, addressOf, choose, go, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";
import { Copy, asCurl } from "../parts/copy.js";
import { Facets } from "../parts/facets.js";
import { Histogram } from "../parts/histogram.js";
import { Search } from "../parts/search.js";
import { Welcome } from "../parts/welcome.js";
import { Windowed } from "../parts/windowed.js";

const PAGE = 100;
const LOOK_EVERY_MS = 2000;
/** @type {[string, string][]} */
const TIMES = [["", "All time"], ["-15m", "Last 15 minutes"], ["-1h", "Last hour"], ["-24h", "Last 24 hours"], ["-7d", "Last 7 days"]];
/** @type {[string, string][]} */
const SORTS = [["", "Newest first"], ["-cost", "Dearest first"], ["-tokens", "Most tokens first"], ["-duration", "Longest first"], ["-warnings", "Most warnings first"]];
const VIEW = new Set(["sort", "mark"]);

/** What of the address chooses runs. @param {Record<string, string>} query */
const filterOf = (query) => Object.fromEntries(Object.entries(query).filter(([name]) => !VIEW.has(name)));

export function Runs() {
  const { query } = usePlace();
  const filter = useMemo(() => filterOf(query), [JSON.stringify(query)]);
  const list = useList(filter, query.sort ?? "");
  const [active, setActive] = useState(-1);
  const marked = query.mark ?? "";
  const rows = list.rows;
  const at = Math.min(active, rows.length - 1);
  useEffect(() => remember(rows.map((/** @type {any} */ run) => run.run_id)), [rows]);
  const mark = (/** @type {any} */ run) => {
    if (!marked || marked === run.run_id) choose({ mark: marked ? null : run.run_id }, { replace: true });
    else go(addressOf("/compare", { a: marked, b: run.run_id }));
  };
  const move = (/** @type {number} */ by) => setActive(Math.max(0, Math.min(rows.length - 1, at + by)));
  useKeys({
    j: ["next run", () => move(1)], ArrowDown: ["next run", () => move(1)],
    k: ["run before", () => move(-1)], ArrowUp: ["run before", () => move(-1)],
    Enter: ["open the run", (event) => {
      if (at >= 0 && !/** @type {HTMLElement} */ (event.target).matches("a, button")) go(`/runs/${rows[at].run_id}`);
      else /** @type {HTMLElement} */ (event.target).click();
    }],
    c: ["mark the run, then compare it with another", () => at >= 0 && mark(rows[at])],
    r: ["show new runs", list.showNew],
  });
  // The list comes before what stands around it: a browser asks for six things at a time.
  const [isSettled, setSettled] = useState(false);
  useEffect(() => void (list.loading || setSettled(true)), [list.loading]);
  const isFiltered = Object.keys(filter).length > 0;
  return html`
    <main class="runs">
      <div class="tools">
        <${Search} value=${query.q ?? ""} onSearch=${(/** @type {string} */ q) => choose({ q })} error=${list.error} />
        <label class="pick">Time <select value=${query.since ?? ""} onChange=${(/** @type {any} */ event) => choose({ since: event.target.value, until: null })}>
          ${TIMES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
          ${query.since && !TIMES.some(([value]) => value === query.since) && html`<option value=${query.since}>from ${moment(query.since)}</option>`}
        </select></label>
        <label class="pick">Order <select value=${query.sort ?? ""} onChange=${(/** @type {any} */ event) => choose({ sort: event.target.value })}>
          ${SORTS.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
        </select></label>
        <${Copy} text=${() => asCurl(address("/runs", { ...filter, sort: query.sort }))}>Copy as curl</${Copy}>
      </div>
      ${!isSettled ? html`<div class="facets"></div>` : html`<${Facets} query=${filter} onChoose=${(/** @type {string} */ field, /** @type {string} */ values) => choose({ [field]: values })} />`}
      <section class="list" aria-label="Runs">
        <h1 class="hidden">Runs</h1>
        ${!isSettled ? html`<div class="histogram"></div>` : html`<${Histogram} query=${filter} onPick=${(/** @type {string} */ since, /** @type {string} */ until) => choose({ since, until })} />`}
        <p class="pill" aria-live="polite">${list.fresh > 0 && html`<button type="button" onClick=${list.showNew}>${plural(list.fresh, "new run")}</button>`}</p>
        ${marked && html`<p class="note">Marked <code>${marked.slice(0, 8)}</code> for comparison: press <kbd>c</kbd> on another run. <button type="button" class="quiet" onClick=${() => choose({ mark: null }, { replace: true })}>Unmark</button></p>`}
        ${list.loading && !rows.length ? html`<${Waiting} asked=${list} />`
          : list.error && !rows.length ? html`<${Waiting} asked=${list} />`
          : !rows.length ? (isFiltered ? html`<${Nothing} filter=${filter} />` : html`<${Welcome} />`)
          : html`<${Windowed} rows=${rows} height=${38} label="Runs" active=${at} class="grid-runs" head=${HEAD}
              keyOf=${(/** @type {any} */ run) => run.run_id} onSeen=${(/** @type {number} */ _, /** @type {number} */ last) => last === rows.length && list.more()} onSelect=${setActive}
              render=${(/** @type {any} */ run) => html`<${Row} run=${run} marked=${run.run_id === marked} />`} />`}
      </section>
    </main>`;
}

const NUMBERS = new Set(["Lasted", "LLM", "Tools", "Tokens", "Cost"]);
const HEAD = ["Run", "State", "Health", "Started", "Lasted", "LLM", "Tools", "Tokens", "Cost", "Warnings", "Models"]
  .map((name) => html`<span role="columnheader" class=${NUMBERS.has(name) ? "number" : ""}>${name}</span>`);

/** @param {{ run: any, marked: boolean }} props */
function Row({ run, marked }) {
  const counts = run.counts;
  return html`
    <span role="gridcell" class="name">${marked && html`<b title="marked for comparison">◆ </b>`}<${Link} to=${`/runs/${run.run_id}`} title=${run.run_id}>${line(run.name, 80) || run.run_id.slice(0, 8)}</${Link}> <span class="dim">${run.project}</span></span>
    <span role="gridcell"><${Badge} state=${run.status} /></span>
    <span role="gridcell">${run.health.label ? html`<${Badge} state=${run.health.label} />` : ""}</span>
    <span role="gridcell" title=${run.started_at}>${moment(run.started_at)}</span>
    <span role="gridcell" class="number">${run.status === "running" ? ago(run.started_at).replace(" ago", "…") : duration(run.duration_ms)}</span>
    <span role="gridcell" class="number">${count(counts.llm_calls)}${counts.llm_errors ? html` <span class="bad" title="failed">✗${counts.llm_errors}</span>` : ""}</span>
    <span role="gridcell" class="number">${count(counts.tool_calls)}${counts.tool_errors ? html` <span class="bad" title="failed">✗${counts.tool_errors}</span>` : ""}</span>
    <span role="gridcell" class="number">${count(run.usage.total)}</span>
    <span role="gridcell" class="number">${money(run.cost_usd)}${counts.unpriced_calls ? html`<span title=${`${counts.unpriced_calls} calls have no known price`}>+</span>` : ""}</span>
    <span role="gridcell">${run.top_warning ? html`<${Badge} state=${run.top_warning.severity}>${run.top_warning.type.replaceAll("_", " ")}${counts.warnings > 1 ? ` +${counts.warnings - 1}` : ""}</${Badge}>` : ""}</span>
    <span role="gridcell" class="dim">${line(run.models.join(", "), 60)}</span>`;
}

/** @param {{ filter: Record<string, string> }} props */
function Nothing({ filter }) {
  const without = useAsked(async (signal) => {
    const found = [];
    for (const name of Object.keys(filter)) {
      if (name === "until" && filter.since) continue;
      const rest = { ...filter, [name]: null, ...(name === "since" ? { until: null } : {}) };
      if ((await get("/runs", { ...rest, limit: 1 }, signal)).data.length) found.push(name);
    }
    return found;
  }, [filter]);
  return html`
    <div class="empty">
      <h2>No run is like this</h2>
      ${(without.data ?? []).map((/** @type {string} */ name) => html`<p>There are some without <code>${name}=${filter[name]}</code>. <button type="button" onClick=${() => choose({ [name]: null, ...(name === "since" ? { until: null } : {}) })}>Leave it out</button></p>`)}
      ${without.data?.length === 0 && html`<p>Nor is there one without any single part of the filter.</p>`}
      <button type="button" onClick=${() => go("/")}>Show all runs</button>
    </div>`;
}

/**
 * The list and its newest runs. Rows that are shown are brought up to date in their places; runs that begin later wait
 * until somebody asks for them.
 * @param {Record<string, string>} filter @param {string} sort
 */
function useList(filter, sort) {
  const key = JSON.stringify([filter, sort]);
  const [state, setState] = useState(/** @type {any} */ ({ key: "", rows: [], cursor: null, waiting: [], error: null }));
  const loading = useRef(false);
  const newest = useAsked((signal) => get("/runs", { ...filter, sort, limit: PAGE }, signal), [filter, sort], { everyMs: LOOK_EVERY_MS, hears: () => true });
  useEffect(() => {
    const page = newest.data;
    if (!page) return;
    setState((/** @type {any} */ before) => {
      if (before.key !== key || !before.rows.length)
        return { key, rows: page.data, cursor: page.page.next_cursor, waiting: [], error: null };
      const known = new Map(page.data.map((/** @type {any} */ run) => [run.run_id, run]));
      const shown = new Set(before.rows.map((/** @type {any} */ run) => run.run_id));
      return {
        ...before,
        rows: before.rows.map((/** @type {any} */ run) => known.get(run.run_id) ?? run),
        waiting: sort ? [] : page.data.filter((/** @type {any} */ run) => !shown.has(run.run_id)),
      };
    });
  }, [newest.data]);
  const isCurrent = state.key === key;
  const more = useCallback(async () => {
    if (!isCurrent || !state.cursor || loading.current) return;
    loading.current = true;
    try {
      const page = await get("/runs", { ...filter, sort, limit: PAGE, cursor: state.cursor });
      setState((/** @type {any} */ before) => {
        if (before.key !== key) return before;
        const shown = new Set(before.rows.map((/** @type {any} */ run) => run.run_id));
        return { ...before, cursor: page.page.next_cursor, rows: [...before.rows, ...page.data.filter((/** @type {any} */ run) => !shown.has(run.run_id))] };
      });
    } finally {
      loading.current = false;
    }
  }, [key, state.cursor]);
  const showNew = useCallback(() => setState((/** @type {any} */ before) => ({ ...before, rows: [...before.waiting, ...before.rows], waiting: [] })), []);
  return {
    rows: isCurrent ? state.rows : [],
    fresh: isCurrent ? state.waiting.length : 0,
    loading: newest.loading || (newest.data && !isCurrent),
    error: newest.error,
    data: undefined,
    again: newest.again,
    more,
    showNew,
  };
}
