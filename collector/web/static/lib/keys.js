// @ts-check
/** Keys: what is on the screen says which it takes, `?` lists them, and none does anything while somebody types. */

import { useEffect, useRef } from "../vendor/preact.js";

/** @typedef {Record<string, [string, (event: KeyboardEvent) => void]>} Keys by key: what it does in words, and does */

/** @type {Set<{ current: Keys }>} */
const active = new Set();

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches?.("input, textarea, select, [contenteditable]") && event.key !== "Escape") return;
  for (const keys of [...active].reverse()) {
    const found = keys.current[event.key];
    if (found) {
      event.preventDefault();
      found[1](event);
      return;
    }
  }
}
addEventListener("keydown", onKey);

/** Takes keys for as long as the component is shown; the newest is asked first. @param {Keys} keys */
export function useKeys(keys) {
  const held = useRef(keys);
  held.current = keys;
  useEffect(() => {
    active.add(held);
    return () => void active.delete(held);
  }, []);
}

/** Every key that now does something, and what. @returns {[string, string][]} */
export function activeKeys() {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const keys of [...active].reverse())
    for (const [key, [what]] of Object.entries(keys.current)) if (!found.has(key)) found.set(key, what);
  return [...found];
}
