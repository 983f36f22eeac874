// @ts-check
/** Runs as a file. */

import { html, useState } from "../vendor/preact.js";
import { address, getFile } from "../lib/api.js";
import { Copy, asCurl } from "./copy.js";

/** @type {[string, string][]} */
const SHAPES = [["runs", "runs"], ["events", "their events"], ["messages", "their conversations"], ["spans", "their spans, as received"], ["openai-ft", "examples for fine-tuning"], ["all", "all of these, with notes"]];
/** @type {Record<string, string[]>} */
const FORMATS = { runs: ["csv", "jsonl", "parquet"], events: ["csv", "jsonl", "parquet"], messages: ["jsonl", "csv", "parquet"], spans: ["jsonl", "otlp-json", "otlp-proto"], "openai-ft": ["jsonl"], all: ["zip"] };

/** @param {{ filter: Record<string, string>, what: string }} props `filter` chooses the runs, `what` says which these are */
export function Export({ filter, what }) {
  const [shape, setShape] = useState("runs");
  const [format, setFormat] = useState("csv");
  const [said, setSaid] = useState("");
  const query = { ...filter, shape: shape === "all" ? null : shape, format };
  /** @param {SubmitEvent} event */
  const take = async (event) => {
    event.preventDefault();
    try {
      setSaid("on its way…");
      const { blob, name } = await getFile("/export", query);
      const place = URL.createObjectURL(blob);
      const link = Object.assign(document.createElement("a"), { href: place, download: name });
      link.click();
      URL.revokeObjectURL(place);
      setSaid(`saved as ${name}`);
    } catch (problem) {
      setSaid(/** @type {Error} */ (problem).message);
    }
  };
  /** @param {KeyboardEvent} event */
  const closed = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    const box = /** @type {HTMLDetailsElement} */ (event.currentTarget);
    box.open = false;
    box.querySelector("summary")?.focus();
  };
  return html`
    <details class="export" onKeyDown=${closed}><summary>Export…</summary>
      <form onSubmit=${take} onInput=${() => setSaid("")}>
        <p>Of ${what}:</p>
        <label>Rows <select value=${shape} onChange=${(/** @type {any} */ event) => {
          setShape(event.target.value);
          if (!FORMATS[event.target.value].includes(format)) setFormat(FORMATS[event.target.value][0]);
        }}>${SHAPES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>
        <label>Format <select value=${format} onChange=${(/** @type {any} */ event) => setFormat(event.target.value)}>${FORMATS[shape].map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
        <p><button type="submit">Download</button> <${Copy} text=${() => asCurl(address("/export", query))}>Copy as curl</${Copy}> <span role="status" class="dim">${said}</span></p>
        <p class="dim">Of very many runs <code>eddyline export</code> writes the file without a browser, and goes on where it was cut short.</p>
      </form>
    </details>`;
}
