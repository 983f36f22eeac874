// @ts-check
/** How long what is kept, and what is never stored. */

import { html, useState } from "../vendor/preact.js";
import { get, send } from "../lib/api.js";
import { moment, plural, size } from "../lib/format.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "./asked.js";

/** @type {[string, string][]} */
const KINDS = [["spans_days", "Spans as received"], ["logs_days", "Log records"], ["events_days", "Events, with previews"], ["exchanges_days", "Calls through the proxy"], ["runs_days", "Runs and warnings"]];
const GIB = 1 << 30;

/** @param {Record<string, number>} rows */
const told = (rows) => Object.entries(rows).filter(([, count]) => count).map(([kind, count]) => plural(count, kind.replace(/s$/, ""))).join(", ") || "nothing";

export function Keeping() {
  const asked = useAsked((signal) => get("/db/retention", {}, signal), []);
  const [said, setSaid] = useState("");
  const [asking, setAsking] = useState(/** @type {any} */ (null));
  const [error, setError] = useState("");
  /** @param {any} policy @param {boolean} isTrial */
  const put = async (policy, isTrial) => {
    try {
      setError("");
      const document = await send("PUT", "/db/retention" + (isTrial ? "?dry_run=true" : ""), policy);
      setAsking(isTrial ? { policy, document } : null);
      setSaid(isTrial ? "" : "It holds from now on.");
      if (!isTrial) asked.again();
    } catch (problem) {
      setError(/** @type {Error} */ (problem).message);
    }
  };
  /** @param {SubmitEvent} event */
  const propose = (event) => {
    event.preventDefault();
    const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const number = (/** @type {string} */ name) => (given.get(name) ? Number(given.get(name)) : null);
    const gib = number("gib");
    put({ ...Object.fromEntries(KINDS.map(([name]) => [name, number(name)])), max_bytes: gib === null ? null : Math.round(gib * GIB) }, true);
  };
  if (!asked.data) return html`<h2>Retention</h2><${Waiting} asked=${asked} />`;
  const { policy, bytes, last } = asked.data;
  return html`
    <h2>Retention</h2>
    <p class="dim">Counted from when it was stored. Pinned runs stay. The tables take ${size(bytes)} now${last ? `; at ${moment(last.at)} ${told(last.deleted)} deleted${last.error ? `, and then: ${last.error}` : ""}` : ""}.</p>
    <form onSubmit=${propose} onInput=${() => setAsking(null)}>
      <table class="plain"><caption class="hidden">Days that each kind is kept</caption>
        <tbody>${KINDS.map(([name, label]) => html`<tr><th scope="row"><label for=${name}>${label}</label></th><td><input id=${name} name=${name} type="number" min="1" class="few" value=${policy[name] ?? ""} placeholder="for ever" /> days</td></tr>`)}
          <tr><th scope="row"><label for="gib">All together at most</label></th><td><input id="gib" name="gib" type="number" min="0.001" step="any" class="few" value=${policy.max_bytes === null ? "" : policy.max_bytes / GIB} placeholder="no bound" /> GiB</td></tr></tbody>
      </table>
      ${asking ? html`<p role="status">This deletes ${told(asking.document.would_delete)} now. <button type="button" onClick=${() => put(asking.policy, false)}>Keep it so</button> <button type="button" class="quiet" onClick=${() => setAsking(null)}>Leave it</button></p>`
        : html`<p><button type="submit">Change…</button> <span class="dim" role="status">${said}</span></p>`}
      ${error && html`<p class="bad" role="alert">${error}</p>`}
    </form>`;
}

/** @param {any} rules */
const hides = (rules) => [!rules.capture_input && "inputs", !rules.capture_output && "outputs"].filter(Boolean).join(" and ") || "nothing";

export function Redaction() {
  const asked = useAsked((signal) => get("/db/redaction", {}, signal), []);
  if (!asked.data) return html`<h2>Redaction</h2><${Waiting} asked=${asked} />`;
  const { projects, ...rules } = asked.data;
  return html`
    <h2>Redaction</h2>
    <p class="dim">Keys, tokens and passwords are masked in everything that is stored, always. More is set by <code>redaction</code> in the configuration.</p>
    <table class="plain"><caption class="hidden">What is masked and not stored</caption>
      <thead><tr><th scope="col">Project</th><th scope="col">Masked, beside secrets</th><th scope="col">Not stored at all</th></tr></thead>
      <tbody>${[...Object.entries(projects), ["all others", rules]].map(([name, one]) => html`<tr><th scope="row">${Object.keys(projects).length ? name : "all"}</th><td>${one.mask.join(", ") || "nothing"}</td><td>${hides(one)}</td></tr>`)}</tbody>
    </table>`;
}
