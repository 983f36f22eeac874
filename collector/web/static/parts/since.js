// @ts-check
import { html } from "../vendor/preact.js";
import { moment } from "../lib/format.js";
import { choose } from "../lib/router.js";

/** @type {[string, string][]} */
const TIMES = [["", "All time"], ["-15m", "Last 15 minutes"], ["-1h", "Last hour"], ["-24h", "Last 24 hours"], ["-7d", "Last 7 days"], ["-30d", "Last 30 days"]];

/** From when on things are shown. @param {{ since: string | undefined }} props */
export const Since = ({ since = "" }) => html`
  <label class="pick">Time <select value=${since} onChange=${(/** @type {any} */ event) => choose({ since: event.target.value, until: null })}>
    ${TIMES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
    ${since && !TIMES.some(([value]) => value === since) && html`<option value=${since}>${since.startsWith("-") ? `since ${since.slice(1)} ago` : `from ${moment(since)}`}</option>`}
  </select></label>`;
