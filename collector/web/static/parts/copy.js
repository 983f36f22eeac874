// @ts-check
import { html, useState } from "../vendor/preact.js";

/** A button that copies a text. @param {{ text: string | (() => string | Promise<string>), children: any }} props */
export function Copy({ text, children }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "string" ? text : await text());
      setSaid("copied");
    } catch {
      setSaid("not allowed here");
    }
    setTimeout(() => setSaid(""), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${copy}>${said || children}</button>`;
}

/** A shell command that asks the API for the same. The key stays a variable. @param {string} address */
export const asCurl = (address) => `curl -H "Authorization: Bearer $EDDYLINE_TOKEN" '${location.origin}${address.replaceAll("'", "%27")}'`;
