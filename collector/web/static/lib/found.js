// @ts-check
/** Find in a run: where a text is, the way through what has it, and its marks on the screen. */

import { useEffect, useMemo } from "../vendor/preact.js";
import { get } from "./api.js";
import { choose } from "./router.js";
import { byTime, eventOf, nodeOf, stepsOf } from "./tree.js";
import { useAsked, useSettled } from "./use.js";

const SETTLED_MS = 250;
const MOST_MARKS = 1000;
/** What is shown after that is no more sought by itself. */
const SOUGHT_MS = 3000;
const NAME = "found";

/** @typedef {{ text: string, hits: Map<string, number>, places: number, whole: boolean, truncated: boolean }} Found how often each node has it, by time */

/**
 * Where a text is, once it has been the same for a moment; undefined without a text.
 * @param {string} path of the run @param {any} version @param {string} text
 * @returns {import("./use.js").Asked<Found | undefined>}
 */
export function useFound(path, version, text) {
  const settled = useSettled(text, SETTLED_MS);
  return useAsked(async (signal) => {
    if (!settled) return undefined;
    const { data, meta } = await get(path + "/find", { text: settled }, signal);
    const hits = new Map(data.map((/** @type {any} */ one) => [one.id, one.input + one.output + one.error]));
    return { text: settled, hits, ...meta };
  }, [path, version, settled]);
}

/** @typedef {{ stops: { event: string, times: number }[] | null, at: number, go: (by: number) => void }} Way events that have it, by time, and how often; null while that is not known; the chosen one's place, or -1; to the next and back */

/**
 * The way from one event that has what is looked for to the next.
 * @param {Found | undefined} found @param {any} tree @param {string} chosen the event @param {boolean} ofSteps only those that are steps
 * @returns {Way}
 */
export function useWay(found, tree, chosen, ofSteps) {
  const stops = useMemo(() => {
    if (!found || !tree) return null;
    const places = (ofSteps ? stepsOf(tree) : byTime(tree.data)).filter((at) => found.hits.has(tree.data.id[at]));
    return places.map((at) => ({ event: eventOf(tree.data, at), times: found.hits.get(tree.data.id[at]) ?? 0 }));
  }, [found, tree, ofSteps]);
  const at = chosen && stops ? stops.findIndex(({ event }) => nodeOf(event) === nodeOf(chosen)) : -1;
  const go = (/** @type {number} */ by) => {
    if (!stops?.length) return;
    const next = at < 0 ? (by > 0 ? 0 : stops.length - 1) : (at + by + stops.length) % stops.length;
    choose({ event: stops[next].event }, { replace: true });
  };
  return { stops, at, go };
}

/**
 * Marks a text wherever it stands in an element, however that changes, and brings its first place in `within` into
 * sight. Marks are ranges: nothing of the document is touched.
 * @param {any} box a ref @param {string} text @param {string} within a selector @param {string} chosen what is shown there
 */
export function useMarks(box, text, within, chosen) {
  const wanted = useMemo(() => text.toLowerCase(), [text]);
  useEffect(() => {
    if (!wanted || !box.current || !CSS.highlights) return;
    const seekUntil = Date.now() + SOUGHT_MS;
    let frame = 0;
    let isSought = true;
    const mark = () => {
      frame = 0;
      const ranges = rangesOf(box.current, wanted);
      CSS.highlights.set(NAME, new Highlight(...ranges));
      const first = isSought && Date.now() < seekUntil && ranges.find((range) => range.startContainer.parentElement?.closest(within));
      if (!first) return;
      isSought = false;
      bringIntoSight(first, within);
    };
    const soon = () => void (frame ||= requestAnimationFrame(mark));
    const watcher = new MutationObserver(soon);
    watcher.observe(box.current, { childList: true, subtree: true, characterData: true });
    soon();
    return () => {
      cancelAnimationFrame(frame);
      watcher.disconnect();
      CSS.highlights.delete(NAME);
    };
  }, [wanted, chosen]);
}

/** Scrolls what is around a place, up to the element that `within` selects. @param {Range} range @param {string} within */
function bringIntoSight(range, within) {
  for (let box = range.startContainer.parentElement; box; box = box.matches(within) ? null : box.parentElement) {
    const [place, frame] = [range.getBoundingClientRect(), box.getBoundingClientRect()];
    const isInSight = place.top >= frame.top && place.bottom <= frame.bottom;
    if (!isInSight && box.scrollHeight > box.clientHeight) box.scrollTop += place.top - frame.top - frame.height / 3;
  }
}

/** Places of a text in small letters. @param {Element} element @param {string} wanted */
function rangesOf(element, wanted) {
  /** @type {Range[]} */
  const ranges = [];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (ranges.length < MOST_MARKS && texts.nextNode()) {
    const node = /** @type {Text} */ (texts.currentNode);
    const small = node.data.toLowerCase();
    if (small.length !== node.data.length) continue; // of a few letters the small one is longer: places would be wrong
    for (let at = small.indexOf(wanted); at >= 0 && ranges.length < MOST_MARKS; at = small.indexOf(wanted, at + wanted.length)) {
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + wanted.length);
      ranges.push(range);
    }
  }
  return ranges;
}

/** Whether a text that is looked for is in another. @param {string | null | undefined} text @param {string} find */
export const holds = (text, find) => find !== "" && (text ?? "").toLowerCase().includes(find.toLowerCase());
