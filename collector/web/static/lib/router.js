// @ts-check
/** Where we are: everything that is chosen stands in the address, so that it can be shared and survives a reload. */

import { html, useEffect, useState } from "../vendor/preact.js";

/** @typedef {{ path: string, query: Record<string, string> }} Place */

/** @returns {Place} */
const here = () => ({ path: location.pathname, query: Object.fromEntries(new URLSearchParams(location.search)) });

/** @type {Set<() => void>} */
const listeners = new Set();
addEventListener("popstate", () => listeners.forEach((listener) => listener()));

/** @param {string} path @param {Record<string, any>} [query] */
export function addressOf(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return path + (text && "?" + text);
}

/** @param {string} address @param {{ replace?: boolean }} [options] */
export function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  listeners.forEach((listener) => listener());
}

/** Changes what is chosen here; null takes a choice back. @param {Record<string, any>} change @param {{ replace?: boolean }} [options] */
export function choose(change, options) {
  go(addressOf(location.pathname, { ...here().query, ...change }), options);
}

/** @returns {Place} */
export function usePlace() {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const listener = () => setPlace(here());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return place;
}

/** A link within the page. @param {{ to: string, children?: any, class?: string, [rest: string]: any }} props */
export function Link({ to, children, ...rest }) {
  /** @param {MouseEvent} event */
  const follow = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(to);
    window.scrollTo(0, 0);
  };
  return html`<a href=${to} onClick=${follow} ...${rest}>${children}</a>`;
}
