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
import { Export } from "../parts/export.js";
import { Facets } from "../parts/facets.js";
import { Histogram } from "../parts/histogram.js";
import { Search } from "../parts/search.js";
import { Since } from "../parts/since.js";
import { Welcome } from "../parts/welcome.js";
import { Windowed } from "../parts/windowed.js";

const PAGE = 100;
const LOOK_EVERY_MS = 2000;
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
        <${Since} since=${query.since} />
        <label class="pick">Order <select value=${query.sort ?? ""} onChange=${(/** @type {any} */ event) => choose({ sort: event.target.value })}>
          ${SORTS.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
        </select></label>
        <${Copy} text=${() => asCurl(address("/runs", { ...filter, sort: query.sort }))}>Copy as curl</${Copy}>
        <${Export} filter=${filter} what=${isFiltered ? "runs that the filter chooses" : "all runs"} />
      </div>
      ${!isSettled ? html`<div class="facets"></div>` : html`<${Facets} query=${filter} onChoose=${(/** @type {string} */ field, /** @type {string} */ values) => choose({ [field]: values })} />`}
      <section class="list" aria-label="Runs">
        <h1 class="hidden">Runs</h1>
        ${!isSettled ? html`<div class="histogram"></div>` : html`<${Histogram} query=${filter} onPick=${(/** @type {string} */ since, /** @type {string} */ until) => choose({ since, until })} />`}
        ${rows.length > 0 && html`<${Total} filter=${filter} />`}
        <p class="pill" aria-live="polite">${list.fresh > 0 && html`<button type="button" onClick=${list.showNew}>${plural(list.fresh, "new run")}</button>`}</p>
        ${marked && html`<p class="note">Marked <code>${marked.slice(0, 8)}</code> for comparison: choose ◇ of another run, or press <kbd>c</kbd> on it. <button type="button" class="quiet" onClick=${() => choose({ mark: null }, { replace: true })}>Unmark</button></p>`}
        ${list.loading && !rows.length ? html`<${Waiting} asked=${list} />`
          : list.error && !rows.length ? html`<${Waiting} asked=${list} />`
          : !rows.length ? (isFiltered ? html`<${Nothing} filter=${filter} />` : html`<${Welcome} />`)
          : html`<${Windowed} rows=${rows} height=${38} label="Runs" active=${at} class="grid-runs" head=${HEAD}
              keyOf=${(/** @type {any} */ run) => run.run_id} onSeen=${(/** @type {number} */ _, /** @type {number} */ last) => last === rows.length && list.more()} onSelect=${setActive}
              render=${(/** @type {any} */ run) => html`<${Row} run=${run} marked=${marked} mark=${mark} />`} />`}
      </section>
    </main>`;
}

const NUMBERS = new Set(["Lasted", "LLM", "Tools", "Tokens", "Cost"]);
const HEAD = ["", "Run", "State", "Health", "Started", "Lasted", "LLM", "Tools", "Tokens", "Cost", "Warnings", "Models"]
  .map((name) => html`<span role="columnheader" class=${NUMBERS.has(name) ? "number" : ""}>${name || html`<span class="hidden">Compare</span>`}</span>`);

/** @param {{ run: any, marked: string, mark: (run: any) => void }} props `marked` is the run that another is to be compared with */
function Row({ run, marked, mark }) {
  const counts = run.counts;
  const isMarked = marked === run.run_id;
  const says = isMarked ? "Marked for comparison: unmark it" : marked ? "Compare it with the marked run" : "Mark it for comparison";
  return html`
    <span role="gridcell"><button type="button" class="quiet mark" aria-pressed=${isMarked} title=${says} aria-label=${`${says}: ${line(run.name, 40) || run.run_id.slice(0, 8)}`} onClick=${(/** @type {Event} */ click) => {
      click.stopPropagation();
      mark(run);
    }}>${isMarked ? "◆" : "◇"}</button></span>
    <span role="gridcell" class="name"><${Link} to=${`/runs/${run.run_id}`} title=${run.run_id}><bdi>${line(run.name, 80) || run.run_id.slice(0, 8)}</bdi></${Link}> <span class="dim">${run.project}</span></span>
    <span role="gridcell"><${Badge} state=${run.status} /></span>
    <span role="gridcell">${run.health.label ? html`<${Badge} state=${run.health.label} />` : ""}</span>
    <span role="gridcell" title=${run.started_at}>${moment(run.started_at)}</span>
    <span role="gridcell" class="number">${run.status === "running" ? ago(run.started_at).replace(" ago", "…") : duration(run.duration_ms)}</span>
    <span role="gridcell" class="number">${count(counts.llm_calls)}${counts.llm_errors ? html` <span class="bad" title="failed">✗${counts.llm_errors}</span>` : ""}</span>
    <span role="gridcell" class="number">${count(counts.tool_calls)}${counts.tool_errors ? html` <span class="bad" title="failed">✗${counts.tool_errors}</span>` : ""}</span>
    <span role="gridcell" class="number">${count(run.usage.total)}</span>
    <span role="gridcell" class="number">${money(run.cost_usd)}${counts.unpriced_calls && run.cost_usd !== null ? html`<span title=${`${counts.unpriced_calls} calls have no known price`}>+</span>` : ""}</span>
    <span role="gridcell">${run.top_warning ? html`<${Badge} state=${run.top_warning.severity}>${run.top_warning.type.replaceAll("_", " ")}${counts.warnings > 1 ? ` +${counts.warnings - 1}` : ""}</${Badge}>` : ""}</span>
    <span role="gridcell" class="dim">${line(run.models.join(", "), 60)}</span>`;
}

/** How many runs there are, and what they come to. @param {{ filter: Record<string, string> }} props */
function Total({ filter }) {
  const asked = useAsked(async (signal) => {
    const [runs, sums] = await Promise.all([
      get("/runs", { ...filter, limit: 1, fields: "core", count: "estimate" }, signal),
      get("/aggregates", { ...filter, metrics: "llm_calls,input_tokens,output_tokens,cost_usd,warnings" }, signal),
    ]);
    return { runs: runs.meta.total, ...sums.data[0]?.values };
  }, [filter], { everyMs: LOOK_EVERY_MS * 5, hears: (word) => word.event !== "run.updated" });
  if (!asked.data) return html`<p class="total dim"></p>`;
  const { runs, llm_calls: calls, input_tokens: read, output_tokens: written, cost_usd: cost, warnings } = asked.data;
  const says = [
    plural(runs, "run"), calls > 0 && plural(calls, "LLM call"), read + written > 0 && `${count(read + written)} tokens`,
    cost !== null && cost !== undefined && money(cost), warnings > 0 && plural(warnings, "warning"),
  ];
  return html`<p class="total dim">${says.filter(Boolean).join(" · ")}</p>`;
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
