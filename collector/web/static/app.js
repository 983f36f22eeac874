// @ts-check
/** The page's frame: where we are, who we are, what the keys do. */

import { html, render, useEffect, useState } from "./vendor/preact.js";
import { ApiError, get, setToken, takeToken, token } from "./lib/api.js";
import { keepAsker } from "./lib/asker.js";
import { activeKeys, useKeys } from "./lib/keys.js";
import { startListening } from "./lib/live.js";
import { Link, go, usePlace } from "./lib/router.js";
import { useAsked } from "./lib/use.js";
import { Compare } from "./pages/compare.js";
import { Overview } from "./pages/overview.js";
import { RunPage } from "./pages/run.js";
import { Runs } from "./pages/runs.js";
import { SessionPage } from "./pages/session.js";
import { Sessions } from "./pages/sessions.js";
import { Settings } from "./pages/settings.js";
import { StatusPage } from "./pages/status.js";
import { Warnings } from "./pages/warnings.js";

const THEME = "eddyline.theme";
/** @type {[string, string][]} */
const PLACES = [["/", "Runs"], ["/sessions", "Sessions"], ["/warnings", "Warnings"], ["/overview", "Overview"], ["/status", "Status"], ["/settings", "Settings"]];

/** As it was written, if it was written wrongly. @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} path @returns {any} */
function pageAt(path) {
  const [, first, ...rest] = path.split("/");
  const id = decoded(rest.join("/"));
  if (first === "runs" && id) return html`<${RunPage} key=${id} id=${id} />`;
  if (first === "sessions" && id) return html`<${SessionPage} key=${id} id=${id} />`;
  /** @type {Record<string, any>} */
  const pages = { "": Runs, sessions: Sessions, compare: Compare, warnings: Warnings, overview: Overview, status: StatusPage, settings: Settings };
  return pages[first] ? html`<${pages[first]} />` : html`<main class="page"><h1>There is nothing here</h1><${Link} to="/">All runs</${Link}></main>`;
}

function App() {
  const { path } = usePlace();
  const [theme, setTheme] = useState(localStorage.getItem(THEME) ?? "");
  const [help, setHelp] = useState(false);
  const known = useAsked(async (signal) => get("", {}, signal), [token()], { everyMs: 5000 });
  keepAsker(known.data?.asker);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  useEffect(() => {
    document.title = `${PLACES.find(([place]) => place === path)?.[1] ?? "Eddyline"} · Eddyline`;
  }, [path]);
  useKeys({
    "?": ["list the keys", () => setHelp(!help)],
    Escape: ["close", () => setHelp(false)],
    g: ["all runs", () => go("/")],
  });
  const isAway = known.error instanceof ApiError && known.error.status === 0;
  const isStranger = known.error instanceof ApiError && [401, 403].includes(known.error.status);
  const nextTheme = theme === "" ? "dark" : theme === "dark" ? "light" : "";
  return html`
    <a class="skip" href="#main">Skip to content</a>
    <header class="bar">
      <${Link} to="/" class="brand">Eddyline</${Link}>
      <nav aria-label="Pages">
        ${PLACES.map(([to, name]) => html`<${Link} to=${to} aria-current=${path === to ? "page" : undefined}>${name}</${Link}>`)}
      </nav>
      <span class="grow"></span>
      <button type="button" class="quiet" onClick=${() => {
        setTheme(nextTheme);
        localStorage.setItem(THEME, nextTheme);
      }}>${theme === "" ? "Theme: system" : `Theme: ${theme}`}</button>
      <button type="button" class="quiet" aria-haspopup="dialog" onClick=${() => setHelp(true)}>Keys <kbd>?</kbd></button>
    </header>
    ${isAway && html`<p class="banner" role="alert">The collector does not answer. What is shown may be old; trying again every 5 seconds.</p>`}
    <div id="main" tabindex="-1">${isStranger ? html`<${SignIn} detail=${known.error.message} />` : pageAt(path)}</div>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}
  `;
}

/** @param {{ detail: string }} props */
function SignIn({ detail }) {
  /** @param {SubmitEvent} event */
  const keep = (event) => {
    event.preventDefault();
    setToken(new FormData(/** @type {HTMLFormElement} */ (event.target)).get("token")?.toString().trim() ?? "");
    location.reload();
  };
  return html`
    <main class="page narrow">
      <h1>Which key may read here?</h1>
      <p>${token() ? detail : "The collector shows runs to those who have its token."}</p>
      <p>On the collector's machine, <code>eddyline open</code> opens this page with it. It is in the file <code>token</code> of the data directory; keys with the scopes <code>read</code> and <code>content</code> are made by <code>eddyline token create</code>.</p>
      <form onSubmit=${keep}>
        <label>Token <input name="token" type="password" autocomplete="current-password" required /></label>
        <button type="submit">Read</button>
      </form>
    </main>
  `;
}

/** @param {{ close: () => void }} props */
function Help({ close }) {
  return html`
    <div class="cover" onClick=${close}>
      <div class="dialog" role="dialog" aria-modal="true" aria-label="Keys" onClick=${(/** @type {Event} */ event) => event.stopPropagation()}>
        <h2>Keys</h2>
        <dl class="keys">${activeKeys().map(([key, what]) => html`<dt><kbd>${key === " " ? "space" : key}</kbd></dt><dd>${what}</dd>`)}</dl>
        <button type="button" onClick=${close} ref=${(/** @type {any} */ button) => button?.focus()}>Close</button>
      </div>
    </div>
  `;
}

takeToken();
startListening();
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
