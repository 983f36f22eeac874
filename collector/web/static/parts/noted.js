// @ts-check
/** What people say of a run: whether it is kept, its tags and a note; and its end. */

import { html, useState } from "../vendor/preact.js";
import { get, send } from "../lib/api.js";
import { may } from "../lib/asker.js";
import { line } from "../lib/format.js";
import { Link, addressOf, go } from "../lib/router.js";

/** @param {{ run: any, path: string, again: () => void }} props `again` asks for the run anew */
export function Noted({ run, path, again }) {
  const [said, setSaid] = useState(/** @type {{ tags: string[], note: string | null } | null} */ (null));
  const [isLeaving, setLeaving] = useState(false);
  const [error, setError] = useState("");
  /** @param {() => Promise<void>} work */
  const tried = async (work) => {
    try {
      setError("");
      await work();
    } catch (problem) {
      setError(/** @type {Error} */ (problem).message);
    }
  };
  /** @param {any} change */
  const change = (change) => tried(async () => {
    await send("PATCH", path, change);
    setSaid(null);
    again();
  });
  const remove = () => tried(async () => {
    await send("DELETE", path);
    go("/");
  });
  /** @param {SubmitEvent} event */
  const keep = (event) => {
    event.preventDefault();
    const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const tags = String(given.get("tags")).split(",").map((tag) => tag.trim()).filter(Boolean);
    change({ tags: [...new Set(tags)], note: String(given.get("note")).trim() || null });
  };
  if (!may("admin") && !may("delete") && !run.tags.length && !run.note && !run.pinned) return null;
  return html`
    <section class="noted" aria-label="Notes">
      ${!may("admin") ? run.pinned && html`<span>★ Pinned</span>` : html`<button type="button" class="quiet" aria-pressed=${run.pinned} title="Retention leaves pinned runs" onClick=${() => change({ pinned: !run.pinned })}>${run.pinned ? "★ Pinned" : "☆ Pin"}</button>`}
      ${run.tags.map((/** @type {string} */ tag) => html`<${Link} class="tag" to=${addressOf("/", { tag })}>${line(tag, 40)}</${Link}>`)}
      ${run.note && !said && html`<span class="said">${run.note}</span>`}
      ${may("admin") && !said && html`<button type="button" class="quiet" onClick=${() => tried(async () => setSaid(await get(path + "/annotation")))}>${run.note || run.tags.length ? "Change tags and note…" : "Tags and note…"}</button>`}
      ${may("delete") && (isLeaving ? html`<span>All of it, for good? <button type="button" onClick=${remove}>Really delete this run</button> <button type="button" class="quiet" onClick=${() => setLeaving(false)}>Keep it</button></span>`
        : html`<button type="button" class="quiet" onClick=${() => setLeaving(true)}>Delete…</button>`)}
      ${said && html`<form onSubmit=${keep}>
        <label>Tags <input name="tags" value=${said.tags.join(", ")} placeholder="separated by commas" autocomplete="off" /></label>
        <label>Note <textarea name="note" rows="2" maxlength="10000">${said.note ?? ""}</textarea></label>
        <button type="submit">Keep</button> <button type="button" class="quiet" onClick=${() => setSaid(null)}>Leave it</button>
      </form>`}
      ${error && html`<p class="bad" role="alert">${error}</p>`}
    </section>`;
}
