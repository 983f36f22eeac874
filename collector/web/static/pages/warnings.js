// @ts-check
/** Warnings of all runs, the latest first. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { count, moment, money, plural } from "../lib/format.js";
import { Link, addressOf, choose, usePlace } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Badge } from "../parts/badges.js";
import { Field } from "../parts/field.js";
import { Prose } from "../parts/prose.js";

/** @type {[string, string, string[]][]} */
const PICKS = [["category", "Category", ["loop", "waste"]], ["severity", "Severity", ["critical", "warning", "info"]], ["state", "State", ["active", "resolved", "retracted"]]];

export function Warnings() {
  const { query } = usePlace();
  const limit = Number(query.limit ?? 100);
  const asked = useAsked((signal) => get("/warnings", { ...query, limit }, signal), [query], { everyMs: 5000, hears: (word) => word.event === "warning" });
  /** @type {any[]} */
  const rows = asked.data?.data ?? [];
  return html`
    <main class="page">
      <h1>Warnings</h1>
      <div class="tools">${PICKS.map(([name, label, values]) => html`
        <label class="pick">${label} <select value=${query[name] ?? ""} onChange=${(/** @type {any} */ event) => choose({ [name]: event.target.value })}>
          <option value="">any</option>${values.map((value) => html`<option value=${value}>${value}</option>`)}</select></label>`)}
        <${Field} name="type" of="warning" label="Type" value=${query.type} />
        <${Field} name="project" label="Project" value=${query.project} />
      </div>
      ${!asked.data ? html`<${Waiting} asked=${asked} />` : !rows.length ? html`<div class="empty"><h2>No warnings</h2><p>${Object.keys(query).length ? "None is like this." : "No run has gone round in circles yet."}</p></div>` : html`
        <div class="wide"><table class="plain"><caption class="hidden">Warnings</caption>
          <thead><tr><th scope="col">Severity</th><th scope="col">Type</th><th scope="col">What happened</th><th scope="col">Count</th><th scope="col">Wasted</th><th scope="col">Last</th><th scope="col">Run</th></tr></thead>
          <tbody>${rows.map((warning) => html`<tr key=${warning.warning_id}>
            <td><${Badge} state=${warning.severity} /></td>
            <td>${warning.type.replaceAll("_", " ")}${warning.state !== "active" ? html` <span class="dim">${warning.state}</span>` : ""}</td>
            <td class="message"><${Prose} text=${warning.message} /></td><td class="number">${count(warning.count)}</td>
            <td class="number">${money(warning.wasted_cost_usd)}</td><td>${moment(warning.last_at)}</td>
            <td><${Link} to=${addressOf(`/runs/${warning.run_id}`, { event: warning.onset_event_id ?? warning.evidence[0] })}>${warning.run_id.slice(0, 8)}</${Link}></td></tr>`)}</tbody>
        </table></div>
        ${asked.data.page.next_cursor && limit < 1000 && html`<button type="button" onClick=${() => choose({ limit: Math.min(1000, limit * 2) }, { replace: true })}>Show more than ${plural(limit, "warning")}</button>`}`}
    </main>`;
}
