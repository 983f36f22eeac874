// @ts-check
/** The box that finds a text in a run, how often it is there, and the way from one event that has it to the next. */

import { html, useEffect, useRef } from "../vendor/preact.js";
import { plural, whole } from "../lib/format.js";
import { useKeys } from "../lib/keys.js";
import { choose } from "../lib/router.js";

/** @param {{ text: string, asked: import("../lib/use.js").Asked<import("../lib/found.js").Found | undefined>, way: import("../lib/found.js").Way }} props */
export function Find({ text, asked, way }) {
  const { go } = way;
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
      <span class="dim" role="status">${text && says(asked, way)}</span>
      <input ref=${box} type="search" aria-label="Find in this run" placeholder="Find in this run" value=${text} spellcheck="false" autocomplete="off"
        onInput=${(/** @type {any} */ input) => choose({ find: input.target.value || null }, { replace: true })} onKeyDown=${onKey} />
      <button type="button" class="quiet" aria-label="Event before that has it" disabled=${!way.stops?.length} onClick=${() => go(-1)}>↑</button>
      <button type="button" class="quiet" aria-label="Next event that has it" disabled=${!way.stops?.length} onClick=${() => go(1)}>↓</button>
    </form>`;
}

/** @param {import("../lib/use.js").Asked<import("../lib/found.js").Found | undefined>} asked @param {import("../lib/found.js").Way} way */
function says(asked, { stops, at }) {
  if (asked.error) return asked.error.status === 403 ? "this key may not read content" : asked.error.message;
  const found = asked.data;
  if (!found || !stops) return "…";
  if (!stops.length) return found.places ? `${plural(found.places, "place")}, none in this view` : "in no text";
  const places = stops.reduce((sum, { times }) => sum + times, 0);
  const where = at < 0 ? plural(stops.length, "event") : `${whole(at + 1)} of ${plural(stops.length, "event")}`;
  return html`<span title=${found.whole ? "" : "Of so long a run the beginning and end of each text was looked through"}>${plural(places, "place")}${found.truncated ? " or more" : ""}${found.whole ? "" : "*"}, ${where}</span>`;
}
