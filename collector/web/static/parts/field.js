// @ts-check
import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { choose } from "../lib/router.js";
import { useAsked } from "../lib/use.js";

/** A text to choose by, with the values that runs have. @param {{ name: string, label: string, value?: string, of?: string, placeholder?: string }} props `of` is the field of runs, if it has another name */
export function Field({ name, label, value = "", of = name, placeholder = "any" }) {
  const asked = useAsked((signal) => get("/facets", { of, limit: 100 }, signal), [of]);
  return html`
    <label class="pick">${label} <input list=${`values-${name}`} value=${value} placeholder=${placeholder} onChange=${(/** @type {any} */ event) => choose({ [name]: event.target.value.trim() })} />
      <datalist id=${`values-${name}`}>${(asked.data?.data ?? []).map((/** @type {any} */ one) => html`<option value=${one.value} />`)}</datalist></label>`;
}
