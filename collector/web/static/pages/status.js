// @ts-check
/** "I sent a trace: where is it?" What came in, what is on its way, what is stored, and what was refused. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { duration, line, plural, size, whole } from "../lib/format.js";
import { Link, choose, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";
import { Content } from "../parts/content.js";

export function StatusPage() {
  const asked = useAsked((signal) => get("/status", {}, signal), [], { everyMs: 1000 });
  const status = asked.data;
  if (!status) return html`<main class="page"><h1>Status</h1><${Waiting} asked=${asked} /></main>`;
  const troubles = troublesOf(status);
  /** @type {[string, number][]} */
  const unmapped = Object.entries(status.mappers?.unmapped ?? {});
  return html`
    <main class="page">
      <h1>Status</h1>
      <p class="dim">eddyline ${status.version}, up for ${duration(status.uptime_s * 1000)}</p>
      ${status.pipeline && html`<section aria-label="Troubles" role="status">${troubles.length ? troubles.map((trouble) => html`<p class="trouble"><${Badge} state="warning">look here</${Badge}> ${trouble}</p>`) : html`<p><${Badge} state="ok">nothing is in the way</${Badge}></p>`}</section>`}
      <${Trace} status=${status} />
      ${status.stored && html`<dl class="facts">${Object.entries(status.stored).map(([name, value]) => html`<div><dt>stored ${name}</dt><dd>${whole(/** @type {number} */ (value))}</dd></div>`)}</dl>`}
      ${status.receivers && html`
        <h2>Received</h2>
        <div class="wide"><table class="plain"><thead><tr><th scope="col">Door</th><th scope="col">Signal</th><th scope="col">Requests</th><th scope="col">Accepted</th><th scope="col">Rejected</th><th scope="col">Could not be read</th><th scope="col">Refused</th><th scope="col">Sent again</th></tr></thead>
        <tbody>${Object.entries(status.receivers).flatMap(([door, signals]) => Object.entries(/** @type {any} */ (signals)).map(([signal, seen]) => html`<tr><th scope="row">${door}</th><td>${signal}</td><td class="number">${whole(seen.requests)}</td><td class="number">${whole(seen.accepted)}</td><td class="number">${whole(seen.rejected)}</td><td class="number">${whole(seen.bad_requests)}</td><td class="number">${whole(seen.refused_requests)}</td><td class="number">${whole(seen.resent)}</td></tr>`))}</tbody></table></div>
        ${!Object.keys(status.receivers).length && html`<p class="dim">No request has come yet. <code>eddyline doctor</code> finds out why.</p>`}`}
      ${status.pipeline && html`
        <h2>On its way</h2>
        <div class="wide"><table class="plain"><thead><tr><th scope="col">Signal</th><th scope="col">Accepted</th><th scope="col">Stored</th><th scope="col">Queued</th><th scope="col">Sent twice</th><th scope="col">Filtered</th><th scope="col">Can not be stored</th><th scope="col">Waiting in the journal</th><th scope="col">Behind</th><th scope="col">Last error of the store</th></tr></thead>
        <tbody>${["traces", "logs"].map((signal) => {
          const flow = signal === "traces" ? status.pipeline : status.pipeline.logs;
          return html`<tr><th scope="row">${signal}</th><td class="number">${whole(flow.accepted)}</td><td class="number">${whole(flow.stored)}</td><td class="number">${whole(flow.queued)}</td><td class="number">${whole(flow.duplicates)}</td><td class="number">${whole(flow.filtered)}</td><td class="number">${whole(flow.dead_lettered)}</td><td class="number">${size(status.journal[signal].waiting_bytes)}</td><td class="number">${status.sink[signal].lag_s.toFixed(1)} s</td><td>${status.sink[signal].last_error ?? ""}</td></tr>`;
        })}</tbody></table></div>`}
      <${PassedOn} status=${status} />
      ${unmapped.length > 0 && html`
        <h2>Not understood</h2>
        <p class="dim">No convention knows these spans. They are stored and shown as received, but no model or tool call is read from them. <code>eddyline map</code> says why.</p>
        <table class="plain"><thead><tr><th scope="col">Instrumentation scope</th><th scope="col">Spans</th></tr></thead>
        <tbody>${unmapped.map(([scope, spans]) => html`<tr><th scope="row">${line(scope, 100) || "without a name"}</th><td class="number">${whole(spans)}</td></tr>`)}</tbody></table>`}
      <details><summary>All of it, as JSON</summary><${Content} value=${JSON.stringify(status)} /></details>
    </main>`;
}

/** What went on to other places: sinks beside the store, and what the collector tells of itself. @param {{ status: any }} props */
function PassedOn({ status }) {
  /** @type {[string, string, any][]} */
  const rows = Object.entries(status.forwards ?? {}).flatMap(([name, signals]) =>
    Object.entries(signals).map(([signal, told]) => /** @type {[string, string, any]} */ ([name, signal, told])));
  const own = status.own_traces;
  if (own) rows.push(["service.telemetry.traces", "own traces", { ...own, failed: own.lost }]);
  return rows.length > 0 && html`
    <h2>Passed on</h2>
    <div class="wide"><table class="plain"><thead><tr><th scope="col">To</th><th scope="col">Signal</th><th scope="col">Sent</th><th scope="col">Refused</th><th scope="col">Lost</th><th scope="col">Waiting</th><th scope="col">Last error</th></tr></thead>
    <tbody>${rows.map(([name, signal, told]) => html`<tr><th scope="row">${line(name, 60)}</th><td>${signal}</td><td class="number">${whole(told.sent)}</td><td class="number">${told.rejected === undefined ? "" : whole(told.rejected)}</td><td class="number">${whole(told.failed + (told.given_up ?? 0))}</td><td class="number">${whole(told.waiting)}</td><td class="message">${line(told.last_error ?? "", 200)}</td></tr>`)}</tbody></table></div>`;
}

/** Where one trace is. @param {{ status: any }} props */
function Trace({ status }) {
  const { query } = usePlace();
  const id = (query.trace ?? "").toLowerCase();
  const isId = /^[0-9a-f]{32}$/.test(id);
  const asked = useAsked(async (signal) => (isId ? get(`/runs/${id}`, {}, signal) : undefined), [id], { everyMs: 1000, hears: (word) => word.data.run_id === id });
  const queued = status.pipeline?.queued;
  const says = !id ? "" : !isId ? "A trace id is 32 hex digits: is it whole?"
    : asked.data ? html`It is stored: <${Link} to=${`/runs/${id}`}>${line(asked.data.name, 60) || "unnamed run"}</${Link}>, ${plural(asked.data.counts.spans, "span")}, ${asked.data.status}.`
    : asked.error?.status === 404 ? `It is not stored${queued ? `; ${plural(queued, "span")} are on their way, it may be among them` : ", and nothing is on its way"}.`
    : (asked.error?.message ?? "Looking…");
  return html`
    <form class="tools" role="search" onSubmit=${(/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      choose({ trace: new FormData(/** @type {HTMLFormElement} */ (event.target)).get("trace")?.toString().trim() });
    }}>
      <label class="pick">Where is my trace? <input name="trace" class="id" value=${query.trace ?? ""} placeholder="trace id" spellcheck="false" autocomplete="off" /></label>
      <button type="submit">Look</button> <span role="status">${says}</span>
    </form>`;
}

/** @param {any} status @returns {string[]} */
function troublesOf(status) {
  const found = [];
  for (const [signal, journal] of Object.entries(status.journal ?? {})) if (journal.refuses) found.push(`Nothing is taken for ${signal}: ${journal.refuses}.`);
  for (const [signal, sink] of Object.entries(status.sink ?? {})) {
    if (sink.last_error) found.push(`The store does not take ${signal}: ${sink.last_error}`);
    else if (sink.lag_s > 5) found.push(`The store is ${sink.lag_s.toFixed(0)} s behind with ${signal}.`);
  }
  for (const [door, signals] of Object.entries(status.receivers ?? {}))
    for (const [signal, seen] of Object.entries(/** @type {any} */ (signals))) {
      if (seen.bad_requests) found.push(`${plural(seen.bad_requests, "request")} of ${signal} at ${door} could not be read: is something else than OTLP sent there?`);
      if (seen.refused_requests) found.push(`${plural(seen.refused_requests, "request")} of ${signal} at ${door} refused: too much at once, or a key is missing.`);
    }
  for (const over of status.over_quota ?? []) found.push(`${plural(over.requests, "request")} refused: the project ${line(over.project, 60)} is over its quota.`);
  for (const [name, signals] of Object.entries(status.forwards ?? {}))
    for (const [signal, told] of Object.entries(/** @type {any} */ (signals))) if (told.last_error) found.push(`${name} does not take ${signal}: ${told.last_error}`);
  if (status.own_traces?.last_error) found.push(`The collector's own traces are not taken: ${status.own_traces.last_error}`);
  if (status.pipeline?.dead_lettered) found.push(`${plural(status.pipeline.dead_lettered, "span")} can not be stored: eddyline dead-letter ls says why.`);
  const faults = Object.entries(status.mappers?.faults ?? {});
  for (const [convention, times] of faults) found.push(`The mapping of ${convention || "a span"} failed ${times} times.`);
  return found;
}
