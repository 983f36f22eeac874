// @ts-check
/** The box that finds a text in a run, how often it is there, and the way from one event that has it to the next. */

import { html, useEffect, useRef } from "../vendor/preact.js";
import { plural, whole } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { choose } from "../lib/router.js";

/** @typedef {{ event: string, times: number }[]} Stops events that have it, by time, and how often */

/**
 * @param {{ text: string, asked: import("../lib/use.js").Asked<import("../lib/found.js").Found | undefined>, stops: Stops | null, at: number, go: (by: number) => void }} props
 * `stops`: those of the view, null while that is not known; `at`: which of them is chosen, from 0, or -1
 */
export function Find({ text, asked, stops, at, go }) {
  const box = useRef(/** @type {any} */ (null));
  const focus = () => {
    box.current?.focus();
    box.current?.select();
  };
  useKeys({
    "/": ["find in this run", focus],
    f: ["next event that has what is found", () => go(1)],
    F: ["event before that has what is found", () => go(-1)],
  });
  useEffect(() => {
    // The browser's own search sees only the rows in sight; pressed again within the box, it is the browser's.
    const take = (/** @type {KeyboardEvent} */ event) => {
      if (event.key.toLowerCase() !== "f" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || document.activeElement === box.current) return;
      event.preventDefault();
      focus();
    };
    addEventListener("keydown", take);
    return () => removeEventListener("keydown", take);
  }, []);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (text) choose({ find: null }, { replace: true });
      else box.current.blur();
    }
  };
  return html`
    <form class="find" role="search" aria-label="This run" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <span class="dim" role="status">${text && says(asked, stops, at)}</span>
      <input ref=${box} type="search" aria-label="Find in this run" placeholder="Find in this run" value=${text} spellcheck="false" autocomplete="off"
        onInput=${(/** @type {any} */ input) => choose({ find: input.target.value || null }, { replace: true })} onKeyDown=${onKey} />
      <button type="button" class="quiet" aria-label="Event before that has it" disabled=${!stops?.length} onClick=${() => go(-1)}>↑</button>
      <button type="button" class="quiet" aria-label="Next event that has it" disabled=${!stops?.length} onClick=${() => go(1)}>↓</button>
    </form>`;
}

/** @param {import("../lib/use.js").Asked<import("../lib/found.js").Found | undefined>} asked @param {Stops | null} stops @param {number} at */
function says(asked, stops, at) {
  if (asked.error) return asked.error.status === 403 ? "this key may not read content" : asked.error.message;
  const found = asked.data;
  if (!found || !stops) return "…";
  if (!stops.length) return found.places ? `${plural(found.places, "place")}, none in this view` : "in no text";
  const places = stops.reduce((sum, { times }) => sum + times, 0);
  const where = at < 0 ? plural(stops.length, "event") : `${whole(at + 1)} of ${plural(stops.length, "event")}`;
  return html`<span title=${found.whole ? "" : "Of so long a run the beginning and end of each text was looked through"}>${plural(places, "place")}${found.truncated ? " or more" : ""}${found.whole ? "" : "*"}, ${where}</span>`;
}
