// @ts-check
/** States in words, with a mark and a colour: never by the colour alone. */

import { html } from "../vendor/preact.js";

/** @type {Record<string, [string, string]>} mark and colour */
const STATES = {
  completed: ["✓", "good"], ok: ["✓", "good"], failed: ["✗", "bad"], error: ["✗", "bad"], running: ["●", "live"],
  incomplete: ["◌", "dim"], critical: ["▲", "bad"], warning: ["▲", "warn"], info: ["▲", "dim"],
  healthy: ["✓", "good"], likely_stuck: ["∞", "bad"], degraded: ["▲", "warn"], stuck: ["∞", "bad"],
};

/** @param {{ state: string | null | undefined, children?: any }} props */
export function Badge({ state, children }) {
  const [mark, colour] = STATES[state ?? ""] ?? ["·", "dim"];
  return html`<span class="badge ${colour}"><span aria-hidden="true">${mark}</span> ${children ?? (state ?? "unknown").replaceAll("_", " ")}</span>`;
}

/** @type {Record<string, string>} */
const KINDS = { LLM: "llm", TOOL: "tool", HANDOFF: "handoff", AGENT: "agent", RETRIEVER: "retriever", EMBEDDING: "embedding" };

/** @param {{ kind: string | null }} props */
export const Kind = ({ kind }) => html`<span class="kind ${KINDS[kind ?? ""] ?? "other"}">${(kind ?? "other").toLowerCase()}</span>`;
