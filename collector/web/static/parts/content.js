// @ts-check
/** What was said, as text: prompts are hostile, so nothing of them is ever markup. */

import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { holds } from "../lib/found.js";
import { size } from "../lib/format.js";
import { isPicture, pictureOf } from "../lib/pictures.js";

const LONG = 4_000;

/** @param {string} text @returns {any} the value, or undefined if it is no JSON object or list */
export function parsed(text) {
  if (!/^\s*[[{]/.test(text) || text.length > 2_000_000) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {{ value: string | null | undefined, empty?: string, find?: string }} props `find`: what has it is open */
export function Content({ value, empty = "not captured", find = "" }) {
  const document = useMemo(() => (value ? parsed(value) : undefined), [value]);
  const [whole, setWhole] = useState(false);
  if (value === null || value === undefined || value === "") return html`<p class="dim">${empty}</p>`;
  if (document !== undefined) return html`<div class="json"><${Node} value=${document} depth=${0} find=${find} /></div>`;
  if (isPicture(value)) return html`<${Picture} source=${value} />`;
  const shown = whole || holds(value.slice(LONG), find) ? value : value.slice(0, LONG);
  return html`
    <pre class="text" tabindex="0">${shown}</pre>
    ${value.length > shown.length && html`<button type="button" class="quiet" onClick=${() => setWhole(true)}>Show all ${size(value.length)}</button>`}
  `;
}

/** @param {{ value: any, depth: number, name?: string, find: string }} props */
function Node({ value, depth, name, find }) {
  const [chosen, setOpen] = useState(/** @type {boolean | undefined} */ (undefined));
  const isFound = useMemo(() => find !== "" && depth > 1 && holds(JSON.stringify(value), find), [value, find]);
  const open = chosen ?? (depth < 2 || isFound);
  const [more, setMore] = useState(50);
  const label = name === undefined ? "" : html`<span class="name">${name}: </span>`;
  if (value === null || typeof value !== "object") {
    if (isPicture(value)) return html`<div>${label}<${Picture} source=${value} /></div>`;
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return html`<div class="leaf">${label}<span class=${typeof value}>${holds(text.slice(LONG), find) ? text : text.slice(0, LONG)}${text.length > LONG ? "…" : ""}</span></div>`;
  }
  const entries = Array.isArray(value) ? value.map((item, index) => [String(index), item]) : Object.entries(value);
  const [before, after] = Array.isArray(value) ? "[]" : "{}";
  if (!entries.length) return html`<div class="leaf">${label}<span class="dim">${before}${after}</span></div>`;
  return html`
    <div>
      <button type="button" class="fold" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "▾" : "▸"} ${name ?? ""} <span class="dim">${before}${entries.length}${after}</span></button>
      ${open && html`<div class="inside">
        ${entries.slice(0, more).map(([key, item]) => html`<${Node} key=${key} name=${key} value=${item} depth=${depth + 1} find=${find} />`)}
        ${entries.length > more && html`<button type="button" class="quiet" onClick=${() => setMore(more + 200)}>${entries.length - more} more</button>`}
      </div>`}
    </div>
  `;
}

/** A picture that was sent as text, through a blob: nothing is fetched. @param {{ source: string }} props */
export function Picture({ source }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(pictureOf(source));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [source]);
  return address && html`<img class="picture" src=${address} alt="a picture of ${size(source.length)}" />`;
}
