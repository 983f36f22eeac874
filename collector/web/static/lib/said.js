// @ts-check
/** What was said and done in a run, as far as a list of its steps shows it. */

import { useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { nodeOf } from "./tree.js";
import { useAsked } from "./use.js";

/** Each call repeats the conversation before it, which takes time to take apart: of longer runs previews are shown. */
const MOST_SPANS = 5000;
const MOST_CALLS = 300;
const PAGE = 1000;
const MOST_CHARS = 4000;
const MOST_PREVIEWS = 100;
const SETTLED_MS = 60;

/** @typedef {{ read: any[], wrote: any[] }} Said messages of one call that no call before had */

/**
 * Messages by span; undefined until they are there.
 * @param {string} path @param {any} version @param {number | undefined} spans how many the run has, once that is known
 * @returns {Map<string, Said> | undefined}
 */
export function useMessages(path, version, spans) {
  const isShort = spans !== undefined && spans <= MOST_SPANS;
  const asked = useAsked(async (signal) => {
    const messages = [];
    let cursor = isShort ? "" : null;
    while (cursor !== null) {
      const page = /** @type {any} */ (await get(path + "/messages", { calls: MOST_CALLS, max_chars: MOST_CHARS, limit: PAGE, cursor }, signal));
      messages.push(...page.data);
      cursor = page.page.next_cursor;
    }
    return messages;
  }, [path, version, isShort]);
  return useMemo(() => {
    if (!asked.data) return undefined;
    /** @type {Map<string, Said>} */
    const found = new Map();
    for (const message of asked.data) {
      const node = nodeOf(message.event_id);
      const said = found.get(node) ?? { read: [], wrote: [] };
      said[message.direction === "output" ? "wrote" : "read"].push(message);
      found.set(node, said);
    }
    return found;
  }, [asked.data]);
}

/**
 * Beginnings of what events read and wrote, by span, asked for where `want` says that they are in sight.
 * @param {string} path @returns {{ previews: Map<string, any>, want: (ids: string[]) => void }} where ids have the state of the event after a space
 */
export function usePreviews(path) {
  const held = useRef({ previews: new Map(), wanted: new Set(), timer: 0 }).current;
  const [, setTurn] = useState(0);
  useEffect(() => () => clearTimeout(held.timer), []);
  const fetched = async () => {
    const asked = [...held.wanted].slice(-MOST_PREVIEWS);
    held.wanted.clear();
    try {
      const { data } = await get(path + "/previews", { ids: asked.map((one) => one.split(" ")[0]).join(",") });
      const found = new Map(data.map((/** @type {any} */ one) => [one.id, one]));
      for (const one of asked) held.previews.set(one, found.get(one.split(" ")[0]) ?? {});
      setTurn((/** @type {number} */ before) => before + 1);
    } catch {
      // It is asked for again when the rows are seen again.
    }
  };
  const want = (/** @type {string[]} */ ids) => {
    const missing = ids.filter((one) => !held.previews.has(one));
    if (!missing.length) return;
    held.wanted = new Set(missing);
    clearTimeout(held.timer);
    held.timer = window.setTimeout(fetched, SETTLED_MS);
  };
  return { previews: held.previews, want };
}
