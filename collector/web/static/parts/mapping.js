// @ts-check
/** Why a span reads as it does: which convention, which rule gave its kind, and which attribute gave which field. */

import { html } from "../vendor/preact.js";
import { address, get } from "../lib/api.js";
import { line } from "../lib/format.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "./asked.js";
import { Content } from "./content.js";
import { Copy, asCurl } from "./copy.js";

/** @param {{ run: string, span: string }} props */
export function Mapping({ run, span }) {
  const path = `/spans/${run}/${encodeURIComponent(span)}/mapping`;
  const asked = useAsked((signal) => get(path, {}, signal), [run, span]);
  const why = asked.data;
  if (!why) return html`<${Waiting} asked=${asked} />`;
  const fields = Object.entries(why.fields);
  return html`
    <dl class="details">
      <dt>Convention</dt><dd>${why.conventions.length ? why.conventions.map((/** @type {any} */ one) => html`<div><strong>${one.id}</strong>, shown by ${one.shown_by}</div>`) : "none is known: the span is kept as received"}</dd>
      <dt>Kind</dt><dd><strong>${why.kind}</strong>${why.kind_rule ? html`, by <code>${why.kind_rule}</code>` : ""}</dd>
      ${why.scope?.name && html`<dt>Told by</dt><dd><code>${why.scope.name}</code> ${why.scope.version}</dd>`}
      ${why.quirks.length > 0 && html`<dt>Corrections</dt><dd>${why.quirks.map((/** @type {any} */ quirk) => html`<div>${typeof quirk === "string" ? quirk : JSON.stringify(quirk)}</div>`)}</dd>`}
      <dt>Appears as</dt><dd>${why.entries.length ? why.entries.join(", ").replaceAll("_", " ") : (why.no_entry ?? "nothing in the timeline")}</dd>
      ${why.duplicate_of && html`<dt>Counted at</dt><dd><code>${why.duplicate_of}</code>, which tells of the same call</dd>`}
    </dl>
    ${fields.length > 0 && html`
      <table class="plain"><caption>Where each field came from</caption>
        <thead><tr><th scope="col">Field</th><th scope="col">Value</th><th scope="col">Attribute</th></tr></thead>
        <tbody>${fields.map(([name, field]) => html`<tr><th scope="row">${name.replaceAll("_", " ")}</th><td class="value">${line(String(field.value), 90)}</td>
          <td><code>${field.source}</code>${field.others.length > 0 && html`<div class="dim">not used: ${field.others.map((/** @type {any} */ other) => (typeof other === "string" ? other : other.source)).join(", ")}</div>`}</td></tr>`)}</tbody>
      </table>`}
    ${why.unread.length > 0 && html`<h3>Attributes that nothing reads</h3><p class="unread">${why.unread.map((/** @type {string} */ name) => html`<code>${name}</code> `)}</p>`}
    <details><summary>As JSON</summary><${Content} value=${JSON.stringify(why)} /></details>
    <p><${Copy} text=${asCurl(address(path))}>Copy as curl</${Copy}> <${Copy} text=${JSON.stringify(why, null, 2)}>Copy JSON</${Copy}></p>`;
}
