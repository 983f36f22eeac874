// @ts-check
/** Cost, tokens, latency, errors and warnings over time, by model, tool, agent, project, service or provider. */

import { html, useEffect, useRef } from "../vendor/preact.js";
import uPlot from "../vendor/uplot.js";
import { get } from "../lib/api.js";
import { count, duration, money, time } from "../lib/format.js";
import { choose, usePlace } from "../lib/router.js";
import { useAsked, useScheme, useSize } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Field } from "../parts/field.js";

/** @type {[string, string, (value: any) => string][]} */
const PLOTS = [
  ["cost_usd", "Cost", money], ["input_tokens", "Tokens read", count], ["output_tokens", "Tokens written", count], ["llm_calls", "LLM calls", count],
  ["llm_errors", "LLM calls that failed", count], ["llm_ms:p95", "LLM latency, 95th percentile", duration],
  ["ttft_ms:p50", "First token, median", duration], ["tool_calls", "Tool calls", count], ["tool_errors", "Tool calls that failed", count], ["warnings", "Warnings", count],
];
const METRICS = PLOTS.map(([name]) => name).join(",");
const DIMENSIONS = ["model", "tool", "agent", "project", "service", "provider"];
/** @type {[string, string][]} */
const TIMES = [["-1h", "Last hour"], ["-24h", "Last 24 hours"], ["-7d", "Last 7 days"], ["-30d", "Last 30 days"], ["", "All time"]];
const MOST = 6;
const COLOURS = ["#0b7a8f", "#b3541e", "#5b6abf", "#3d8b40", "#a23b72", "#8a7300"];

export function Overview() {
  const { query } = usePlace();
  const by = query.by ?? "model";
  const since = query.since ?? "-24h";
  const filter = { q: query.q, project: query.project, since: since || null };
  const series = useAsked((signal) => get("/aggregates", { ...filter, metrics: METRICS, by, interval: "auto" }, signal), [filter, by], { everyMs: 15_000 });
  const sums = useAsked((signal) => get("/aggregates", { ...filter, metrics: METRICS, by }, signal), [filter, by], { everyMs: 15_000 });
  /** @type {any[]} */
  const rows = [...(sums.data?.data ?? [])].sort((one, other) => (other.values.cost_usd ?? 0) - (one.values.cost_usd ?? 0) || other.values.llm_calls - one.values.llm_calls);
  return html`
    <main class="page">
      <h1>Overview</h1>
      <div class="tools">
        <label class="pick">Time <select value=${since} onChange=${(/** @type {any} */ event) => choose({ since: event.target.value || " " })}>${TIMES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>
        <label class="pick">By <select value=${by} onChange=${(/** @type {any} */ event) => choose({ by: event.target.value })}>${DIMENSIONS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
        <${Field} name="project" label="Project" value=${query.project} />
      </div>
      ${!series.data || !sums.data ? html`<${Waiting} asked=${series.data ? sums : series} />` : !rows.length ? html`<div class="empty"><h2>Nothing in this time</h2><p>Runs of another time may be there: choose a longer one.</p></div>` : html`
        <div class="plots">${PLOTS.map(([metric, label, written]) => html`<${Plot} key=${metric} label=${label} metric=${metric} rows=${series.data.data} by=${by} written=${written} since=${since.trim()} names=${rows.map((row) => row.keys[by])} order=${largest(rows, metric).map((row) => row.keys[by])} />`)}</div>
        <table class="plain"><caption>Sums by ${by}</caption>
          <thead><tr><th scope="col">${by}</th>${PLOTS.map(([, label]) => html`<th scope="col">${label}</th>`)}</tr></thead>
          <tbody>${rows.map((row) => html`<tr><th scope="row">${row.keys[by] || "unknown"}</th>${PLOTS.map(([metric, , written]) => html`<td class="number">${written(row.values[metric])}</td>`)}</tr>`)}</tbody>
        </table>`}
    </main>`;
}

/** Rows that have most of something. @param {any[]} rows @param {string} metric */
const largest = (rows, metric) => rows.filter((row) => row.values[metric]).sort((one, other) => other.values[metric] - one.values[metric]).slice(0, MOST);

/** A colour for each name of a plot: the same in every plot, unless two in one would be alike. @param {string[]} shown @param {string[]} names */
function coloursOf(shown, names) {
  /** @type {Map<string, string>} */
  const found = new Map();
  const free = new Set(COLOURS);
  for (const name of shown) {
    const usual = COLOURS[names.indexOf(name) % COLOURS.length];
    const colour = free.has(usual) ? usual : /** @type {string} */ ([...free][0]);
    free.delete(colour);
    found.set(name, colour);
  }
  return found;
}

/** @param {number} at @param {number} span seconds that are shown @returns {string} */
const tick = (at, span) => {
  const when = new Date(at * 1000);
  return span > 2 * 86_400 ? when.toLocaleDateString("sv").slice(5) : when.toLocaleTimeString("sv").slice(0, 5);
};

/** @type {Record<string, number>} */
const UNIT_S = { h: 3600, d: 86_400 };

/** @param {{ label: string, metric: string, rows: any[], by: string, written: (value: any) => string, names: string[], order: string[], since: string }} props `names` are all, which gives each its colour */
function Plot({ label, metric, rows, by, written, names, order, since }) {
  const box = useRef(/** @type {any} */ (null));
  const { width } = useSize(box);
  const times = [...new Set(rows.map((row) => time(row.time) / 1000))].sort((one, other) => one - other);
  const place = new Map(times.map((at, index) => [at, index]));
  const lines = order.map(() => times.map(() => /** @type {number | null} */ (null)));
  for (const row of rows) {
    const line = order.indexOf(row.keys[by]);
    if (line >= 0) lines[line][/** @type {number} */ (place.get(time(row.time) / 1000))] = row.values[metric];
  }
  const colours = coloursOf(order, names);
  const scheme = useScheme();
  const some = lines.map((line) => line.some((value) => value));
  const isEmpty = !some.some(Boolean);
  const [, length, unit] = /^-(\d+)([hd])$/.exec(since) ?? [];
  useEffect(() => {
    if (!box.current || !width || isEmpty) return;
    const ink = getComputedStyle(document.body).color;
    const faint = getComputedStyle(document.body).getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
    const plot = new uPlot({
      width, height: 170, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      series: [{}, ...order.map((name) => ({ label: name || "unknown", stroke: colours.get(name), width: 2, points: { show: times.length < 40 } }))],
      scales: {
        x: { range: (/** @type {any} */ _, /** @type {number} */ first, /** @type {number} */ last) => {
          const now = Date.now() / 1000;
          return length ? [now - Number(length) * UNIT_S[unit], now] : [first - (last - first || 7200) / 20, last + (last - first || 7200) / 20];
        } },
        y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [Math.min(0, low ?? 0), (high || 1) * 1.1] },
      },
      axes: [{ ...axis, values: (/** @type {any} */ shown, /** @type {number[]} */ values) => values.map((at) => tick(at, shown.scales.x.max - shown.scales.x.min)) }, { ...axis, size: 64, values: (/** @type {any} */ _, /** @type {number[]} */ values) => values.map(written) }],
    }, [times, ...lines], box.current);
    return () => plot.destroy();
  }, [width, scheme, JSON.stringify([times, lines])]);
  return html`
    <figure class="plot"><figcaption>${label}</figcaption>
      <div ref=${box}>${isEmpty && html`<p class="dim">none</p>`}</div>
      ${!isEmpty && html`<p class="legend">${order.map((name, index) => some[index] && html`<span><svg width="10" height="10" aria-hidden="true"><rect width="10" height="10" fill=${colours.get(name)} /></svg> ${name || "unknown"}</span>`)}</p>`}
    </figure>`;
}
