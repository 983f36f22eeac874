// @ts-check
/** Keys of programs, how long what is kept, what is never stored, and what this browser keeps. */

import { html, useState } from "../vendor/preact.js";
import { get, send, setToken, token } from "../lib/api.js";
import { asker, may } from "../lib/asker.js";
import { moment } from "../lib/format.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "../parts/asked.js";
import { Copy } from "../parts/copy.js";
import { Keeping, Redaction } from "../parts/keeping.js";

const SCOPES = ["ingest", "read", "content", "delete", "admin"];

export function Settings() {
  return html`
    <main class="page">
      <h1>Settings</h1>
      ${may("admin") ? html`<${Keys} /><${Keeping} /><${Redaction} />`
        : asker() && html`<p>Keys, retention and redaction are shown to keys with the scope <code>admin</code>. This one may ${asker()?.may.join(", ")}${asker()?.project ? html`, in the project <b>${asker()?.project}</b> alone` : ""}.</p>`}
      <h2>This browser</h2>
      <p>It keeps the token by which this page reads, and the theme. <button type="button" disabled=${!token()} onClick=${() => {
        setToken("");
        location.reload();
      }}>Forget the token</button></p>
    </main>`;
}

function Keys() {
  const asked = useAsked((signal) => get("/tokens", {}, signal), []);
  const [made, setMade] = useState(/** @type {any} */ (null));
  const [error, setError] = useState("");
  const [asking, setAsking] = useState("");
  /** @param {SubmitEvent} event */
  const create = async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const given = new FormData(form);
    try {
      setError("");
      setMade(await send("POST", "/tokens", { name: given.get("name"), project: given.get("project"), scopes: SCOPES.filter((scope) => given.get(scope)) }));
      form.reset();
      asked.again();
    } catch (problem) {
      setError(/** @type {Error} */ (problem).message);
    }
  };
  /** @param {string} id */
  const revoke = async (id) => {
    try {
      await send("DELETE", `/tokens/${id}`);
      setAsking("");
      asked.again();
    } catch (problem) {
      setError(/** @type {Error} */ (problem).message);
    }
  };
  return html`
    <h2>API keys</h2>
    ${error && html`<p class="bad" role="alert">${error}</p>`}
    ${made && html`<p role="status">The key of <b>${made.name}</b>, shown this once: <code>${made.token}</code> <${Copy} text=${made.token}>Copy</${Copy}></p>`}
    ${!asked.data ? html`<${Waiting} asked=${asked} />` : html`
      <div class="wide"><table class="plain"><caption class="hidden">API keys</caption>
        <thead><tr><th scope="col">Name</th><th scope="col">May</th><th scope="col">Project</th><th scope="col">Made</th><th scope="col">Last used</th><td></td></tr></thead>
        <tbody>${asked.data.data.map((/** @type {any} */ key) => html`<tr key=${key.id}><th scope="row">${key.name}</th><td>${key.scopes.join(", ")}</td><td>${key.project || "any"}</td><td>${moment(key.created_at)}</td><td>${key.last_used_at ? moment(key.last_used_at) : "never"}</td>
          <td>${key.revoked_at ? html`<span class="dim">revoked</span>` : asking === key.id
            ? html`<button type="button" onClick=${() => revoke(key.id)}>Really revoke ${key.name}</button> <button type="button" class="quiet" onClick=${() => setAsking("")}>Keep it</button>`
            : html`<button type="button" class="quiet" onClick=${() => setAsking(key.id)}>Revoke</button>`}</td></tr>`)}</tbody>
      </table></div>
      ${!asked.data.data.length && html`<p class="dim">There are none: only the API token opens this collector.</p>`}`}
    <form onSubmit=${create}>
      <fieldset><legend>A new key</legend>
        <label>Name <input name="name" required maxlength="200" /></label>
        <label>Project <input name="project" placeholder="any" /></label>
        ${SCOPES.map((scope) => html` <label><input type="checkbox" name=${scope} checked=${scope === "ingest"} /> ${scope}</label>`)}
        <button type="submit">Make it</button>
      </fieldset>
    </form>`;
}
