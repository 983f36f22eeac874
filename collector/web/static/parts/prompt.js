// @ts-check
/** What a model call read and wrote: its messages, with those that are new since the call before of the same agent. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { holds } from "../lib/found.js";
import { plural } from "../lib/format.js";
import { picturesIn } from "../lib/pictures.js";
import { choose } from "../lib/router.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "./asked.js";
import { Content, Picture } from "./content.js";

const MOST_CHARS = 50_000;
/** Of a conversation that is longer, what is known already is folded. */
const FOLDED_FROM = 2;
/** @type {Record<string, [string, string]>} mark and words */
const CHANGES = { added: ["+", "new since the call before"], removed: ["−", "was in the call before"], same: ["", ""] };

/** @param {{ path: string, place: string, node: string, version: any, find: string, children?: any }} props `children` stand there if it has no messages */
export function Prompt({ path, place, node, version, find, children }) {
  const asked = useAsked((signal) => get(`${path}/prompts/${node}`, { max_chars: MOST_CHARS }, signal), [path, node, version]);
  if (!asked.data) return html`<${Waiting} asked=${asked} />`;
  const { before, same, added, removed } = asked.data.meta;
  /** @type {any[]} */
  const all = asked.data.data;
  if (!all.length) return children;
  // Calls that share nothing are no conversation: what the other one read says nothing about this one.
  const isGrown = before !== null && same > 0;
  const read = all.filter((message) => message.direction === "input" && (isGrown || message.change !== "removed"));
  const wrote = all.filter((message) => message.direction === "output");
  const isSeen = all.some((message) => message.parts.some((/** @type {any} */ part) => part.type === "media" && !part.url));
  return html`
    <h3>Input</h3>
    ${before && html`<p class="dim">${isGrown ? `${added ? `${plural(added, "message")} more` : "Nothing more"} than${removed ? `, and ${removed} less` : ""}` : "Nothing in common with"} <button type="button" class="quiet" onClick=${() => choose({ event: `${before.id}.end` })}>the call before</button></p>`}
    ${read.length ? groups(read, isGrown).map((group) => (group.length >= FOLDED_FROM && isGrown && group[0].change === "same"
      ? html`<details open=${group.some((message) => inMessage(message, find))}><summary class="dim">${plural(group.length, "message")} as before</summary>${group.map((message) => html`<${Message} message=${message} find=${find} />`)}</details>`
      : group.map((message) => html`<${Message} message=${message} isMarked=${isGrown} find=${find} />`))) : html`<p class="dim">not captured</p>`}
    <h3>Output</h3>
    ${wrote.length ? wrote.map((message) => html`<${Message} message=${message} find=${find} />`) : html`<p class="dim">not captured</p>`}
    ${isSeen && html`<${Pictures} place=${place} />`}`;
}

/** Messages only say that there is a picture: it stands in what was received. @param {{ place: string }} props */
function Pictures({ place }) {
  const asked = useAsked(async (signal) => picturesIn(await get(place + "/raw", {}, signal)), [place]);
  if (!asked.data) return html`<${Waiting} asked=${asked} />`;
  if (!asked.data.length) return html`<p class="dim">No picture can be shown: it was not sent along, or has a form that browsers do not show.</p>`;
  return html`<h3>${plural(asked.data.length, "picture")}</h3>${asked.data.map((/** @type {string} */ source) => html`<${Picture} key=${source.slice(-80)} source=${source} />`)}`;
}

/** Messages that follow each other and changed alike. @param {any[]} messages @param {boolean} isGrown @returns {any[][]} */
function groups(messages, isGrown) {
  /** @type {any[][]} */
  const found = [];
  for (const message of messages) {
    const last = found.at(-1);
    if (isGrown && last && last[0].change === message.change) last.push(message);
    else found.push([message]);
  }
  return found;
}

/** @param {any} message @param {string} find */
const inMessage = (message, find) => message.parts.some((/** @type {any} */ part) => holds(part.text, find) || holds(part.arguments, find) || holds(part.name, find));

/** @param {{ message: any, isMarked?: boolean, find: string }} props */
function Message({ message, isMarked = false, find }) {
  const [mark, words] = CHANGES[isMarked ? message.change : "same"];
  return html`
    <div class=${`spoken ${isMarked ? message.change : ""}`}>
      <p class="role">${mark && html`<b title=${words}>${mark} </b>`}${message.role}</p>
      ${message.parts.map((/** @type {any} */ part) => html`<${Part} part=${part} find=${find} />`)}
    </div>`;
}

/** @param {{ part: any, find: string }} props */
function Part({ part, find }) {
  const cut = part.chars ? html`<p class="dim">Of ${part.chars} characters the first ${MOST_CHARS} are shown.</p>` : "";
  if (part.type === "tool_call") return html`<p>asks for <code>${part.name ?? "a tool"}</code></p><${Content} value=${part.arguments} find=${find} />${cut}`;
  if (part.type === "media") return html`<p class="dim">${part.media_type ?? "media"} ${part.url ?? ""}</p>`;
  if (part.type === "reasoning") return html`<details open=${holds(part.text, find)}><summary class="dim">reasoning</summary><${Content} value=${part.text} find=${find} /></details>${cut}`;
  return html`${part.type === "tool_result" && html`<p class="dim">result${part.name ? ` of ${part.name}` : ""}</p>`}<${Content} value=${part.text} find=${find} />${cut}`;
}
