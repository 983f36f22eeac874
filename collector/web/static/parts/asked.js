// @ts-check
import { html } from "../vendor/preact.js";

/** What stands where data is not there yet, or will not come. @param {{ asked: import("../lib/use.js").Asked<any>, children?: any }} props */
export function Waiting({ asked }) {
  if (asked.error)
    return html`<div class="failure" role="alert"><p>${asked.error.message}</p>
      ${(asked.error.problem?.errors ?? []).map((/** @type {any} */ one) => html`<p class="dim">${one.parameter ?? ""} ${one.detail}${one.allowed ? `: ${one.allowed.join(", ")}` : ""}</p>`)}
      <button type="button" onClick=${asked.again}>Try again</button></div>`;
  return html`<p class="dim" aria-busy="true">Loading…</p>`;
}
