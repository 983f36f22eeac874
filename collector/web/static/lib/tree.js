// @ts-check
/** A run's spans in columns, as `/tree` tells them, and which of them are steps: what was said or done. */

import { useRef } from "../vendor/preact.js";
import { get } from "./api.js";
import { useAsked } from "./use.js";

/** @typedef {Record<string, any[]>} Columns one list for each field, a place in it for each span; parents stand first */

const STEPS = new Set(["LLM", "TOOL", "HANDOFF", "RETRIEVER", "EMBEDDING", "RERANKER", "GUARDRAIL"]);
const LONGEST_PATTERN = 4;
const FOLDED_FROM = 3;

/** So many spans are shown at once of a run that has more, while the others are on their way. */
const EARLIEST = 300;

/**
 * The spans of a run. Of a long one its beginning comes first: it says that it `isPart`.
 * @param {string} path @param {any} version
 * @param {{ isWanted?: boolean, fold?: number }} [options] `fold`: repetitions from so many on; 0 for none
 * @returns {import("./use.js").Asked<any>}
 */
export function useTree(path, version, { isWanted = true, fold = 0 } = {}) {
  const hasAll = useRef(false);
  return useAsked(async (signal, show) => {
    if (!isWanted) return undefined;
    if (!hasAll.current) {
      const begun = await get(path + "/tree", { collapse_repeats: fold, earliest: EARLIEST }, signal);
      if (!begun.meta.truncated) return begun;
      show({ ...begun, isPart: true });
    }
    const all = await get(path + "/tree", { collapse_repeats: fold }, signal);
    hasAll.current = true;
    return all;
  }, [path, version, isWanted, fold]);
}

/** The entry of the timeline that tells of a span. @param {Columns} data @param {number} at */
export const eventOf = (data, at) => `${data.id[at]}.${data.flags[at] & 4 ? "handoff" : data.duration_us[at] === null ? "start" : "end"}`;

/** The span that an entry tells of. @param {string} event */
export const nodeOf = (event) => event.replace(/\.(start|end|handoff|retry\.\d+)$/, "");

/** What a span is best known by. @param {Columns} data @param {number} at @returns {string} */
export const nameOf = (data, at) => (data.handoff[at] ? `${data.agent[at] ?? ""} → ${data.handoff[at]}`.trim() : data.tool[at] || data.model[at] || data.name[at]);

/** Places by the time at which they began. @param {Columns} data */
export const byTime = (data) => data.start_us.map((_, at) => at).sort((one, other) => data.start_us[one] - data.start_us[other] || one - other);

/** Places of the steps, each told once, by time. @param {any} tree */
export const stepsOf = (tree) => byTime(tree.data).filter((at) => STEPS.has(tree.data.kind[at]) && !(tree.data.flags[at] & (tree.meta.flags.duplicate | tree.meta.flags.setup)));

/** How many agents each span is below, so that sub-agents can be set in. @param {Columns} data @returns {number[]} */
export function agentsAbove(data) {
  /** @type {number[]} */
  const found = [];
  data.parent.forEach((parent) => found.push(parent === null ? 0 : found[parent] + (data.kind[parent] === "AGENT" ? 1 : 0)));
  const least = Math.min(...new Set(found));
  return found.map((above) => Math.max(0, above - Math.max(1, least)));
}

/** @typedef {{ at: number, hidden?: number[], pattern?: number }} Step a place, or what stands for the places that repeat what is above it */

/**
 * Steps with repetitions folded: what did the same with the same content as the steps before it, one or a few together.
 * @param {number[]} places @param {number[]} same @param {Set<number>} open folds that are shown, by the place of their first hidden step
 * @returns {Step[]}
 */
export function folded(places, same, open) {
  /** @type {Step[]} */
  const steps = [];
  for (let from = 0; from < places.length; ) {
    const [pattern, times] = repetition(places, same, from);
    const until = from + pattern * times;
    const shown = times > 1 && !open.has(places[from + pattern]) ? from + pattern : until;
    for (let one = from; one < shown; one++) steps.push({ at: places[one] });
    if (shown < until) steps.push({ at: places[shown], hidden: places.slice(shown, until), pattern });
    from = until;
  }
  return steps;
}

/** Length of the shortest pattern that repeats from there on, and how often it comes. @param {number[]} places @param {number[]} same @param {number} from */
function repetition(places, same, from) {
  for (let pattern = 1; pattern <= LONGEST_PATTERN; pattern++) {
    let end = from + pattern;
    while (end < places.length && same[places[end]] && same[places[end]] === same[places[end - pattern]]) end++;
    const times = Math.floor((end - from) / pattern);
    if (times >= FOLDED_FROM) return [pattern, times];
  }
  return [1, 1];
}
