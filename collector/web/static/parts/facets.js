// @ts-check
/** Values that runs have, to choose from. */

import { html, useState } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { count } from "../lib/format.js";
import { useAsked } from "../lib/use.js";

/** @type {[string, string][]} */
const FIELDS = [["status", "Status"], ["warning", "Warning"], ["project", "Project"], ["model", "Model"], ["tool", "Tool"], ["agent", "Agent"], ["service", "Service"], ["environment", "Environment"], ["tag", "Tag"], ["user", "User"]];

/** @param {{ query: Record<string, any>, onChoose: (field: string, values: string) => void }} props */
export function Facets({ query, onChoose }) {
  return html`<aside class="facets" aria-label="Narrow down">${FIELDS.map(([field, name]) => html`<${Facet} key=${field} field=${field} name=${name} query=${query} onChoose=${onChoose} />`)}</aside>`;
}

/** @param {{ field: string, name: string, query: Record<string, any>, onChoose: (field: string, values: string) => void }} props */
function Facet({ field, name, query, onChoose }) {
  const [limit, setLimit] = useState(6);
  const chosen = (query[field] ?? "").split(",").filter(Boolean);
  const asked = useAsked((signal) => get("/facets", { ...query, [field]: null, of: field, limit }, signal), [query, limit], { everyMs: 30_000 });
  /** @type {{ value: string, count: number | null }[]} */
  const values = asked.data?.data ?? [];
  const shown = [...values, ...chosen.filter((/** @type {string} */ one) => !values.some((/** @type {any} */ value) => value.value === one)).map((/** @type {string} */ value) => ({ value, count: null }))];
  if (!shown.length) return null;
  /** @param {string} value */
  const toggle = (value) => onChoose(field, (chosen.includes(value) ? chosen.filter((/** @type {string} */ one) => one !== value) : [...chosen, value]).join(","));
  return html`
    <fieldset>
      <legend>${name}</legend>
      ${shown.map(({ value, count: runs }) => html`
        <label key=${value}><input type="checkbox" checked=${chosen.includes(value)} onChange=${() => toggle(value)} />
          <span class="value">${value}</span> <span class="dim">${runs === null ? "" : count(runs)}</span></label>`)}
      ${values.length === limit && html`<button type="button" class="quiet" onClick=${() => setLimit(limit * 4)}>More</button>`}
    </fieldset>`;
}
