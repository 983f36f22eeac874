// @ts-check
/** One run: what is wrong with it first, then what was said, what took the time, what it cost, and why it reads so. */

import { html, useEffect, useMemo, useRef } from "../vendor/preact.js";
import { address, get, getText } from "../lib/api.js";
import { count, duration, line, moment, money, plural, whole } from "../lib/format.js";
import { useFound, useMarks, useWay } from "../lib/found.js";
import { useKeys } from "../lib/keys.js";
import { beside } from "../lib/neighbours.js";
import { Link, addressOf, choose, go, usePlace } from "../lib/router.js";
import { useTree } from "../lib/tree.js";
import { useAsked, useChanges, usePaced } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";
import { Copy, asCurl } from "../parts/copy.js";
import { Export } from "../parts/export.js";
import { EventPanel } from "../parts/event.js";
import { Events } from "../parts/events.js";
import { Find } from "../parts/find.js";
import { Graph } from "../parts/graph.js";
import { Noted } from "../parts/noted.js";
import { Prose } from "../parts/prose.js";
import { Timeline } from "../parts/timeline.js";
import { Transcript } from "../parts/transcript.js";

const LOOK_EVERY_MS = 2000;
/** Spans whose attributes are shown at once. */
const MOST_RAW = 1000;
/** @type {[string, string][]} */
const TABS = [["transcript", "Transcript"], ["timeline", "Timeline"], ["events", "Events"], ["graph", "Graph"], ["raw", "Raw"]];
const LISTS = new Set(["transcript", "events"]);

/** @param {{ id: string }} props */
export function RunPage({ id }) {
  const { query } = usePlace();
  const path = `/runs/${encodeURIComponent(id)}`;
  const run = useAsked((signal) => get(path, {}, signal), [id], { everyMs: LOOK_EVERY_MS, hears: (word) => word.data.run_id === id });
  // A run of very many events that goes on is read anew less often than it grows.
  const state = run.data && JSON.stringify([run.data.status, run.data.counts, run.data.ended_at, run.data.usage]);
  const version = usePaced(useChanges(state), (run.data?.counts.spans ?? 0) / 10);
  const warnings = useAsked(async (signal) => (await get(path + "/warnings", {}, signal)).data, [id, version]);
  const tab = TABS.some(([name]) => name === query.tab) ? query.tab : "transcript";
  // Views that list every span share them, so that going from one to the other asks for nothing.
  const isListed = useRef(false);
  const find = (query.find ?? "").trim();
  isListed.current ||= LISTS.has(tab) || find !== "";
  const tree = useTree(path, version, { isWanted: isListed.current });
  const search = useFound(path, version, find);
  const found = search.data?.text === find ? search.data : undefined;
  const way = useWay(found, tree.data, query.event ?? "", tab === "transcript");
  const split = useRef(null);
  useMarks(split, find, ".panel", query.event ?? "");
  /** @type {any[]} */
  const alarms = warnings.data ?? [];
  const evidence = useMemo(() => new Set(alarms.flatMap((warning) => warning.evidence)), [warnings.data]);
  const step = Number(query.warning ?? -1);
  const toWarning = (/** @type {number} */ by) => {
    if (!alarms.length) return;
    const next = (step + by + alarms.length) % alarms.length;
    choose({ warning: next, event: alarms[next].onset_event_id ?? alarms[next].evidence[0] });
  };
  const toNeighbour = (/** @type {number} */ by) => {
    const next = beside(id, by);
    if (next) go(addressOf(`/runs/${next}`, { tab: query.tab }));
  };
  useKeys({
    n: ["next warning", () => toWarning(1)],
    p: ["warning before", () => toWarning(step < 0 ? 0 : -1)],
    ...Object.fromEntries(TABS.map(([name, label], index) => [String(index + 1), [label.toLowerCase(), () => choose({ tab: name })]])),
    "[": ["run above in the list", () => toNeighbour(-1)],
    "]": ["run below in the list", () => toNeighbour(1)],
    y: ["copy the address", () => void navigator.clipboard?.writeText(location.href)],
    c: ["compare with another run", () => go(addressOf("/", { mark: id }))],
    Escape: ["close the event", () => choose({ event: null, warning: null })],
  });
  useEffect(() => {
    if (run.data) document.title = `${run.data.name || id.slice(0, 8)} · Eddyline`;
  }, [run.data?.name]);
  if (run.error && !run.data) return html`<main class="page"><${Waiting} asked=${run} /></main>`;
  const tabs = html`
    <div class="above">
    <div class="tabs" role="tablist" aria-label="Views of the run">
      ${TABS.map(([name, label]) => html`<button type="button" role="tab" id=${`tab-${name}`} aria-selected=${tab === name} aria-controls="view" onClick=${() => choose({ tab: name })}>${label}</button>`)}
    </div>
    <${Find} text=${query.find ?? ""} asked=${search} way=${way} />
    </div>`;
  const props = { run: run.data, path, version, tree, evidence, event: query.event ?? "", find, found };
  return html`
    <main class="run">
      ${run.data ? html`<${Header} run=${run.data} warnings=${alarms} path=${path} again=${run.again} />` : html`<header class="verdict"><${Waiting} asked=${run} /></header>`}
      ${alarms.length > 0 && html`<${WarningStrip} warnings=${alarms} step=${step} />`}
      ${tabs}
      <div class="split" ref=${split}>
        <section id="view" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
          ${tab === "transcript" && html`<${Transcript} ...${props} />`}
          ${tab === "timeline" && html`<${Timeline} ...${props} />`}
          ${tab === "events" && html`<${Events} ...${props} />`}
          ${tab === "graph" && html`<${Graph} ...${props} />`}
          ${tab === "raw" && html`<${Raw} ...${props} />`}
        </section>
        ${query.event && run.data && html`<${EventPanel} key=${query.event} run=${run.data} path=${path} id=${query.event} view=${query.panel ?? "content"} find=${find} />`}
      </div>
    </main>`;
}

/** @param {any[]} warnings */
const worstOf = (warnings) => warnings.find((warning) => warning.primary) ?? warnings[0];

/** @param {any[]} warnings */
const waste = (warnings) => {
  const known = warnings.filter((warning) => warning.primary && warning.wasted_cost_usd !== null);
  return known.length ? known.reduce((sum, warning) => sum + warning.wasted_cost_usd, 0) : null;
};

/** @param {{ run: any, warnings: any[], path: string, again: () => void }} props */
function Header({ run, warnings, path, again }) {
  const { counts, usage, health } = run;
  const worst = worstOf(warnings);
  const wasted = waste(warnings);
  const facts = [
    ["Lasted", run.status === "running" ? "still running" : duration(run.duration_ms)],
    ["LLM calls", whole(counts.llm_calls) + (counts.llm_errors ? `, ${counts.llm_errors} failed` : "")],
    ["Tool calls", whole(counts.tool_calls) + (counts.tool_errors ? `, ${counts.tool_errors} failed` : "")],
    ...(counts.handoffs ? [["Handoffs", whole(counts.handoffs)]] : []),
    ...(counts.retries ? [["Retries", whole(counts.retries)]] : []),
    ["Tokens", `${count(usage.input)} in, ${count(usage.output)} out`],
    ...(usage.cache_read ? [["From cache", count(usage.cache_read)]] : []),
    ...(usage.reasoning ? [["Reasoning", count(usage.reasoning)]] : []),
    ["Cost", money(run.cost_usd) + (counts.unpriced_calls ? ` and ${plural(counts.unpriced_calls, "call")} of unknown price` : "")],
    ...(wasted !== null ? [["Wasted", money(wasted)]] : []),
  ];
  return html`
    <header class="verdict">
      <div class="crumbs"><${Link} to="/">Runs</${Link}> / ${run.session_id ? html`<${Link} to=${`/sessions/${encodeURIComponent(run.session_id)}?project=${encodeURIComponent(run.project)}`}>session ${line(run.session_id, 30)}</${Link}> / ` : ""}<code>${run.run_id}</code>
        <span class="grow"></span>
        <span>Copy <${Copy} text=${() => location.href}>link</${Copy}><${Copy} text=${asCurl(address(path))}>curl</${Copy}><${Copy} text=${async () => JSON.stringify(await get(path), null, 2)}>JSON</${Copy}><${Copy} text=${() => getText(path, {}, undefined, "text/markdown")}>Markdown</${Copy}></span>
        <button type="button" class="quiet" onClick=${() => go(addressOf("/", { mark: run.run_id }))}>Compare…</button>
        <${Export} filter=${{ run: run.run_id }} what="this run" />
      </div>
      <h1><bdi>${line(run.name, 120) || "unnamed run"}</bdi> <span class="states"><${Badge} state=${run.status} /> ${health.label && html`<${Badge} state=${health.label}>${health.label.replaceAll("_", " ")}, health ${health.score}</${Badge}>`}</span></h1>
      ${worst ? html`<p class="says"><strong><${Prose} text=${worst.message} /></strong></p>`
        : run.error ? html`<p class="says bad"><strong>${[run.error.type, run.error.message].filter(Boolean).join(": ")}</strong></p>`
        : html`<p class="says dim">${run.status === "running" ? "Nothing is wrong so far." : "Nothing was found wrong."}</p>`}
      ${worst?.suggestion && html`<p><${Prose} text=${worst.suggestion} /></p>`}
      <dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <p class="dim">${[moment(run.started_at), run.project, run.environment, ...run.services, ...run.models].filter(Boolean).map((one) => line(one, 80)).join(" · ")}</p>
      <${Noted} run=${run} path=${path} again=${again} />
    </header>`;
}

/** Every warning; of the worst only what the verdict does not say already. @param {{ warnings: any[], step: number }} props */
function WarningStrip({ warnings, step }) {
  const worst = worstOf(warnings);
  return html`
    <section class="strip" aria-label="Warnings">
      ${warnings.map((warning, index) => html`
        <button type="button" key=${warning.warning_id} class=${`card ${warning.severity}`} aria-pressed=${index === step}
          onClick=${() => choose({ warning: index, event: warning.onset_event_id ?? warning.evidence[0] })}>
          <span><${Badge} state=${warning.severity}>${warning.type.replaceAll("_", " ")}</${Badge}>
            <span class="dim">${[warning.state !== "active" && warning.state, plural(warning.evidence.length, "event"), warning.wasted_tokens !== null && `${count(warning.wasted_tokens)} tokens wasted`].filter(Boolean).join(" · ")}</span></span>
          ${warning !== worst && html`<span class="message" title=${warning.message}><${Prose} text=${warning.message} /></span>`}
        </button>`)}
    </section>`;
}

// --------------------------------------------------------------------------- raw

/** The spans as they were received. @param {{ path: string, version: any, run: any }} props */
function Raw({ path, version, run }) {
  const spans = run?.counts.spans;
  const isShort = spans <= MOST_RAW;
  const asked = useAsked(async (signal) => (isShort ? getText(path + "/spans", {}, signal) : undefined), [path, version, isShort]);
  if (spans > MOST_RAW) return html`<div class="empty"><p>These are ${plural(spans, "span")}, too many to show at once. Choose an event in another view: its panel has it as received. Or take all of them:</p><p><${Copy} text=${asCurl(address(path + "/spans"))}>Copy as curl</${Copy}></p></div>`;
  if (asked.data === undefined) return html`<${Waiting} asked=${asked} />`;
  const text = JSON.stringify(JSON.parse(asked.data), null, 2);
  const shown = text.slice(0, 200_000);
  return html`
    <p class="dim">The spans as they were received. <${Copy} text=${text}>Copy all</${Copy}> <${Copy} text=${asCurl(address(path + "/spans"))}>Copy as curl</${Copy}></p>
    <pre class="text" tabindex="0">${shown}${text.length > shown.length ? `\n… ${text.length - shown.length} characters more: copy them` : ""}</pre>`;
}
